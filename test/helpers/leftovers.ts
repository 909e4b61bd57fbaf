/**
 * Finds what a container left behind on the host, by a word that occurs in its id and in the path of its bundle.
 * Other tests and other users of the machine may be busy at the same time, so nothing is counted.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** Directories in which runtimes and engines put files named after a container. */
const watchedDirectories = ["/run", "/run/cloche", "/run/user/0", "/tmp", "/var/run", "/dev/shm", "/dev/mqueue"];

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    // Processes come and go while they are looked at.
    return "";
  }
}

function readLink(file: string): string {
  try {
    return readlinkSync(file);
  } catch {
    return "";
  }
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** What is mounted, as opposed to where: our own mounts can have been propagated to anybody's namespace. */
function mountSources(mountinfo: string): string {
  return mountinfo
    .split("\n")
    .map((line) => line.split(" ")[3])
    .join("\n");
}

/** Processes that carry the word in their arguments, directories, executable, cgroup or in mounts of their own. */
export function processesOf(word: string): string[] {
  const ownNamespace = readLink("/proc/self/ns/mnt");
  const found: string[] = [];
  for (const pid of list("/proc").filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)) {
    const at = `/proc/${pid}`;
    const isZombie = /\) [ZX] /.test(readText(`${at}/stat`));
    const places = [
      readText(`${at}/cmdline`).replaceAll("\0", " "),
      readText(`${at}/cgroup`),
      readLink(`${at}/cwd`),
      readLink(`${at}/exe`),
      readLink(`${at}/ns/mnt`) === ownNamespace ? "" : mountSources(readText(`${at}/mountinfo`)),
    ];
    // A zombie has ended: whoever started it has not waited for it yet, which is no fault of the runtime's.
    if (!isZombie && places.some((text) => text.includes(word))) {
      found.push(`process ${pid}: ${places[0]?.trim() || readText(`${at}/comm`).trim()}`);
    }
  }
  return found;
}

function mountsOf(word: string): string[] {
  const lines = readText("/proc/self/mountinfo").split("\n");
  return lines.filter((line) => line.includes(word)).map((line) => `mount ${line.split(" ")[4]}`);
}

function cgroupsOf(word: string, directory = "/sys/fs/cgroup", depth = 0): string[] {
  return list(directory).flatMap((name) => {
    const at = `${directory}/${name}`;
    // Files of cgroups have a dot or are few; what is not a directory simply has no entries.
    if (name.includes(word)) return [`cgroup ${at}`];
    return depth < 5 && !/^(cgroup|memory|cpu\w*|blkio|io|pids|devices|freezer|hugetlb|net_\w+)\./.test(name)
      ? cgroupsOf(word, at, depth + 1)
      : [];
  });
}

function filesOf(word: string, directories: string[]): string[] {
  return directories.flatMap((directory) =>
    list(directory)
      .filter((name) => name.includes(word))
      .map((name) => `file ${directory}/${name}`),
  );
}

/** Ranges of ids that are still taken for a container of the test's. */
function idRangesOf(word: string): string[] {
  const claims = "/run/cloche/.id-ranges";
  return list(claims)
    .filter((name) => readLink(`${claims}/${name}`).includes(word))
    .map((name) => `range of ids ${name}`);
}

/** Everything on the host that carries `word`, as lines to read. `ours`: the one path that is expected to. */
export function leftovers(word: string, stateRoot: string, ours: string): string[] {
  const files = filesOf(word, [...new Set([...watchedDirectories, stateRoot])]);
  return [
    ...processesOf(word),
    ...mountsOf(word),
    ...cgroupsOf(word),
    ...idRangesOf(word),
    ...files.filter((line) => line !== `file ${ours}`),
  ];
}
