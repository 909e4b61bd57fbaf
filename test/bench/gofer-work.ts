/**
 * What the bench of files runs, and its budgets: shell commands, on `$D`, which all share, and `$W`, each one's own and empty, in memory: what
 * a disk's file system does with it at leisure would be measured with whoever comes next.
 */

export interface Work {
  /** What {@link FLOOR} does instead; nothing unless there is this. */
  floor?: string;
  /** Done before each run, in the same place, and not measured. */
  prepare?: string;
  measured: string;
  /** How many times as long as on the host's files it may take on served ones; there is no budget for the others. */
  served?: number;
  /** The same of {@link FLOOR}. */
  request?: number;
}

/** A server in C that answers with constants, on `$F`: what a request costs whoever answers it (test/fixtures/fuse-constants.c). */
export const FLOOR = "constants";
/** How many times as long as with that one a request may take. */
const REQUEST = 2;

/** Reading and mapping data; looking at names and small files; making and removing them. */
const READING = 1.05;
const LOOKING = 1.3;
const MAKING = 3;
const REMOVING = 4;

const commit = "git -c user.name=a -c user.email=b commit -qm x";

export const works: Readonly<Record<string, Work>> = {
  "read 1 GiB": { measured: "$D/file-reads sequential $D/big 4", served: READING },
  "read 4 KiB at random, x 200,000": { measured: "$D/file-reads random $D/big 200000", served: READING },
  "map 256 MiB, x 16": { measured: "$D/file-reads mapped $D/big 16", served: READING },
  "write 256 MiB": { measured: "dd if=/dev/zero of=$W/new bs=1M count=256 status=none" },
  "write 4 KiB, x 50,000": { measured: "dd if=/dev/zero of=$W/new bs=4k count=50000 status=none" },
  "statfs, x 20,000": {
    measured: "$D/file-reads statfs $W 20000",
    floor: "$D/file-reads statfs $F 20000",
    request: REQUEST,
  },
  "look for absent names, x 20,000": {
    measured: "$D/file-reads absent $W 20000",
    floor: "$D/file-reads absent $F 20000",
    request: REQUEST,
  },
  "git status": { measured: "git -C $D/repo status --short", served: LOOKING },
  find: { measured: "find $D/repo -newer $D/main.c -type l", served: LOOKING },
  "C compile": { measured: "gcc -O1 -c $D/main.c -o $W/main.o", served: LOOKING },
  "import asyncio": { measured: "/usr/bin/python3 -c 'import asyncio'", served: LOOKING },
  "tar x, 5,000 files": { measured: "tar xf $D/tree.tar -C $W", served: MAKING },
  "rm -rf, 5,000 files": { prepare: "tar xf $D/tree.tar -C $W", measured: "rm -rf $W/tree", served: REMOVING },
  "cp -r, 5,000 files": { measured: "cp -r $D/tree $W/copy" },
  "git add and commit": {
    prepare: "cp -r $D/tree $W/repo; git -C $W/repo init -q",
    measured: `cd $W/repo && git add . && ${commit}; cd /`,
  },
  "npm ci, 40 packages": {
    prepare: "cp -r $D/app $D/npm-cache $W; rm -rf $W/app/node_modules",
    measured: "cd $W/app && npm ci --offline --no-audit --no-fund --cache $W/npm-cache; cd /",
  },
};

/** Makes what is in `$D`: 5,000 small files, as a tree, an archive and a repository; a large file; a program; packages for npm. */
export const preparation = `
cd "$D"
mkdir tree; cd tree; for d in $(seq 50); do mkdir d$d; for f in $(seq 100); do echo "file $d $f" > d$d/f$f; done; done; cd ..
tar cf tree.tar tree; cp -r tree repo; git -C repo init -q; cd repo; git add .; ${commit}; cd ..
head -c 268435456 /dev/zero | tr '\\0' x > big
printf '#include <stdio.h>\\n#include <stdlib.h>\\n#include <string.h>\\nint main(void){puts("x");return 0;}\\n' > main.c
for program in file-reads fuse-constants; do gcc -O1 -static -o $program "$FIXTURES/$program.c"; done
mkdir app packages; dependencies=""
for p in $(seq 40); do
  mkdir -p package/lib; printf '{"name":"p%s","version":"1.0.0"}' $p > package/package.json
  for f in $(seq 25); do seq $p $((p + f * 20)) > package/lib/f$f.js; done
  tar czf packages/p$p.tgz package; rm -rf package; dependencies="$dependencies\${dependencies:+,}\\"p$p\\":\\"file:../packages/p$p.tgz\\""
done
printf '{"name":"app","version":"1.0.0","dependencies":{%s}}' "$dependencies" > app/package.json
cd app; npm install --offline --no-audit --no-fund --cache "$D/npm-cache" > /dev/null
sync`;
