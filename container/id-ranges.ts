/**
 * Ranges of host ids for sandboxes: each has one of its own, whatever state root it is kept in.
 *
 * A range is taken by a symbolic link in `CLAIMS` that is named by its first uid and gid, "@", and the end of the state file's name; those who
 * share it have links with "+" and more before that. Its text is the state file of the container that has it, "#", and a mark of the claim, which begins with the process that took
 * it: of two containers of one name that come after each other, the first's `create`, which may be the last to end, gives back its own alone. The
 * state file is the truth: a link with one that is not there, older than any `create` takes to write
 * it, is swept away when ranges run out. Links are made under a lock, so that ranges of different sizes of pool never overlap;
 * a container's own is removed by whoever deletes it, before the state file goes.
 */
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync } from "node:fs";
import { type IdRange, RANGE_SIZE } from "../sandbox/isolation/spec.ts";
import { ClocheError, reasonOf, UnsupportedError } from "../specutils/errors.ts";
import { isExecuting, ownProcessRef } from "../specutils/process-ref.ts";
import { removeFile } from "../statefile/atomic-file.ts";
import { acquireLock } from "../statefile/lock.ts";

/** One place for the host: two engines with state roots of their own must not share ranges. */
export const CLAIMS = "/run/cloche/.id-ranges";

/** Without an entry in /etc/subuid: ids that systemd and shadow leave to whoever wants them (systemd's "Users, Groups, UIDs and GIDs"). */
const DEFAULT_POOL: Pool = [{ start: 0x7000_0000, size: 0x0ffe_0000 }];

/** By then `create` has saved its state file, or will never do. */
const STALE_MS = 60_000;

/** Consecutive ids of the host, or several such pieces. */
type Pool = readonly { start: number; size: number }[];

/** A range that was taken for a container in the making. */
export interface Claim {
  range: IdRange;
  /** Whether nobody has given it back since. */
  isHeld(): boolean;
  /** Gives it back, unless somebody has done so. */
  release(): void;
}

/**
 * Takes a range that nobody has, for the container with that state file.
 *
 * @throws UnsupportedError when there is none; ClocheError when it cannot be taken
 */
export async function claimRange(idsUser: string, stateFile: string, claims = CLAIMS): Promise<Claim> {
  const [uids, gids] = [poolOf("/etc/subuid", idsUser), poolOf("/etc/subgid", idsUser)];
  if ((uids === undefined) !== (gids === undefined)) {
    throw new UnsupportedError(`user ${JSON.stringify(idsUser)} must have ranges in both /etc/subuid and /etc/subgid`);
  }
  const candidates = () => rangesOf(uids ?? DEFAULT_POOL, gids ?? DEFAULT_POOL);
  let release: () => void;
  try {
    mkdirSync(claims, { recursive: true, mode: 0o700 });
    release = await acquireLock(`${claims}/lock`);
  } catch (error) {
    throw cannotTake(claims, error);
  }
  try {
    const free = firstFree(candidates(), taken(claims)) ?? firstFree(candidates(), swept(claims));
    if (free === undefined) {
      throw new UnsupportedError(
        `all ranges of ${RANGE_SIZE} ids are taken: give user ${JSON.stringify(idsUser)} more in /etc/subuid and /etc/subgid`,
      );
    }
    return makeClaim(free, claimPath(claims, free, stateFile), stateFile);
  } finally {
    release();
  }
}

/**
 * Claims a range that another sandbox has, for one that shares namespaces with it and may outlive it.
 *
 * Preconditions: the other one's processes are there still after this, or it may have been somebody else's by then.
 * @throws ClocheError when it cannot be taken
 */
export function shareRange(range: IdRange, stateFile: string, claims = CLAIMS): Claim {
  try {
    mkdirSync(claims, { recursive: true, mode: 0o700 });
    return makeClaim(range, claimPath(claims, range, stateFile, `+${newMark()}`), stateFile);
  } catch (error) {
    throw cannotTake(claims, error);
  }
}

function cannotTake(claims: string, error: unknown): ClocheError {
  return new ClocheError(`cannot take or give back a range of ids in ${JSON.stringify(claims)}: ${reasonOf(error)}`, {
    cause: error,
  });
}

/** What no other claim has, of whichever process. */
function newMark(): string {
  const { pid, startTime } = ownProcessRef();
  return `${pid}-${startTime}-${process.hrtime.bigint()}`;
}

function makeClaim(range: IdRange, link: string, stateFile: string): Claim {
  const text = `${stateFile}#${newMark()}`;
  symlinkSync(text, link);
  const isHeld = () => textOf(link) === text;
  const release = () => {
    if (isHeld()) removeFile(link);
  };
  return { range, isHeld, release };
}

/** Gives back the range of the container that has that state file, unless it is another one's by now. */
export function releaseRange(range: IdRange, stateFile: string, claims = CLAIMS): void {
  const link = claimPath(claims, range, stateFile);
  if (holderOf(link) === stateFile) {
    removeFile(link);
    return;
  }
  for (const claim of links(claims)) {
    if (claim.range.uid === range.uid && isFor(claim, stateFile)) removeFile(claim.path);
  }
}

/**
 * Gives back what was claimed for a state file by processes that are there no more. Preconditions: nobody writes that file meanwhile.
 *
 * @param kept the range of the container that the file is of, if it is there
 */
export function releaseAbandoned(stateFile: string, kept: IdRange | undefined, claims = CLAIMS): void {
  for (const path of abandoned(stateFile, kept, claims)) removeFile(path);
}

/** Whether there is something for {@link releaseAbandoned} to do. */
export function hasAbandoned(stateFile: string, claims = CLAIMS): boolean {
  return abandoned(stateFile, undefined, claims).length > 0;
}

function abandoned(stateFile: string, kept: IdRange | undefined, claims: string): string[] {
  return links(claims).flatMap((claim) => {
    const { path, range } = claim;
    if (range.uid === kept?.uid || !isFor(claim, stateFile)) return [];
    const [pid, startTime = ""] = (textOf(path) ?? "").slice(stateFile.length + 1).split("-");
    return isExecuting({ pid: Number(pid), startTime }) ? [] : [path];
  });
}

function claimPath(claims: string, { uid, gid }: IdRange, stateFile: string, sharer = ""): string {
  return `${claims}/${uid}-${gid}${sharer}@${endOf(stateFile)}`;
}

/** So that the claims for a container are found among thousands without reading each. */
function endOf(stateFile: string): string {
  return stateFile.slice(stateFile.lastIndexOf("/") + 1).slice(-64);
}

function isFor({ path }: { path: string }, stateFile: string): boolean {
  return path.endsWith(`@${endOf(stateFile)}`) && holderOf(path) === stateFile;
}

function textOf(link: string): string | undefined {
  try {
    return readlinkSync(link);
  } catch {
    return undefined;
  }
}

/** The state file of who has it. */
function holderOf(link: string): string | undefined {
  return textOf(link)?.replace(/#[^#]*$/, "");
}

/**
 * The ranges of a user in /etc/subuid or /etc/subgid (subuid(5)); undefined if it has none there.
 *
 * @throws UnsupportedError for a file or line that cannot be read: a default must not stand in for it
 */
function poolOf(file: string, user: string): Pool | undefined {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new UnsupportedError(`cannot read ${file}: ${reasonOf(error)}`);
  }
  return parsePool(text, file, user);
}

/** @throws UnsupportedError */
export function parsePool(text: string, file: string, user: string): Pool | undefined {
  const pool: { start: number; size: number }[] = [];
  for (const line of text.split("\n")) {
    const [name, ...numbers] = line.trim().split(":");
    if (name !== user) continue;
    const [start = Number.NaN, size = Number.NaN] = numbers.map((number) =>
      /^\d+$/.test(number) ? Number(number) : Number.NaN,
    );
    // Id 0 is root's, and 2^32 - 1 is no id.
    if (numbers.length !== 2 || !(start > 0 && size > 0 && start + size < 2 ** 32)) {
      throw new UnsupportedError(`${file}: cannot use line ${JSON.stringify(line)}: must be user:start:count`);
    }
    pool.push({ start, size });
  }
  return pool.length === 0 ? undefined : pool;
}

/** The n-th range of uids goes with the n-th of gids. One after the other: of thousands the first few are looked at. */
function* rangesOf(uids: Pool, gids: Pool): Generator<IdRange> {
  const gidStarts = startsIn(gids);
  for (const uid of startsIn(uids)) {
    const { value: gid } = gidStarts.next();
    if (gid === undefined) return;
    yield { uid, gid };
  }
}

function* startsIn(pool: Pool): Generator<number, undefined> {
  for (const { start, size } of pool) {
    for (let at = start; at + RANGE_SIZE <= start + size; at += RANGE_SIZE) yield at;
  }
  return undefined;
}

function firstFree(candidates: Iterable<IdRange>, claimed: readonly IdRange[]): IdRange | undefined {
  const hitsUid = overlap(claimed.map(({ uid }) => uid));
  const hitsGid = overlap(claimed.map(({ gid }) => gid));
  for (const range of candidates) if (!hitsUid(range.uid) && !hitsGid(range.gid)) return range;
  return undefined;
}

/** Tells whether a range overlaps one of those that start at `starts`, by looking at those that start near it. */
function overlap(starts: readonly number[]): (start: number) => boolean {
  const near = new Map<number, number[]>();
  for (const start of starts) {
    const cell = Math.floor(start / RANGE_SIZE);
    near.set(cell, [...(near.get(cell) ?? []), start]);
  }
  return (start) => {
    const cell = Math.floor(start / RANGE_SIZE);
    return [cell - 1, cell, cell + 1].some(
      (at) => near.get(at)?.some((other) => Math.abs(other - start) < RANGE_SIZE) === true,
    );
  };
}

/** All claims. */
function links(claims: string): { path: string; range: IdRange }[] {
  let names: string[];
  try {
    names = readdirSync(claims);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw cannotTake(claims, error);
  }
  return names.flatMap((name) => {
    const match = /^(\d+)-(\d+)(?:[+@].*)?$/.exec(name);
    const range = { uid: Number(match?.[1]), gid: Number(match?.[2]) };
    return match === null ? [] : [{ path: `${claims}/${name}`, range }];
  });
}

/** Ranges that are claimed. */
function taken(claims: string): IdRange[] {
  return links(claims).map(({ range }) => range);
}

/** Removes claims without a state file, and returns the others. */
function swept(claims: string): IdRange[] {
  const kept = links(claims).filter(({ path }) => {
    const holder = holderOf(path);
    const age = Date.now() - (lstatSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0);
    if (holder === undefined || existsSync(holder) || age < STALE_MS) return true;
    removeFile(path);
    return false;
  });
  return kept.map(({ range }) => range);
}
