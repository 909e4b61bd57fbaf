/**
 * Compiled filters, kept in files: compiling docker's profile takes longer than the rest of `create`.
 *
 * A file holds the exact input that it was compiled from, and is used only for that input: the hash in its name merely finds
 * it. Files are written beside their place and renamed, so they are there completely or not at all, and a valid file is never
 * replaced by one for another input: its name, the key, stands for one filter. A file that somebody else could have written
 * is not used. Whatever is wrong with the cache, the filter is compiled; only a wrong profile is an error.
 */
import {
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { Seccomp } from "../../specutils/spec.ts";
import { type CompiledSeccomp, compileSeccomp } from "./compile.ts";
import type { HostArch } from "./constants.ts";
import { quickHash } from "./hash.ts";

/** Part of the input: to be raised when the compiler changes what it makes of a profile (a test compares). */
export const compilerVersion = 1;

export interface CachedSeccomp extends CompiledSeccomp {
  /** Name of the file that holds the filter, for `loadSeccomp`. Undefined if it could not be kept. */
  key: string | undefined;
}

/** How many inputs with the same hash are kept. More than one has never been seen. */
const maxSameHash = 4;
/** Larger files are none of ours: the largest filter has 32 KiB, and a profile that needs a megabyte is a mistake. */
const maxFileBytes = 1 << 20;

/**
 * The filter of a profile for this host, compiled or from the cache.
 * @param cacheDir made if it is not there, mode 0700
 * @throws {SpecError} if a field of the profile is wrong
 */
export function cachedSeccomp(cacheDir: string, seccomp: Seccomp): CachedSeccomp {
  const arch = hostArch();
  const input = inputText(seccomp, arch);
  const hash = quickHash(input).toString(16).padStart(16, "0");
  for (let attempt = 0; attempt < maxSameHash; attempt++) {
    const key = attempt === 0 ? hash : `${hash}-${attempt}`;
    const entry = readEntry(join(cacheDir, key));
    if (entry === undefined) {
      const compiled = compileSeccomp(seccomp, arch);
      return { ...compiled, key: writeEntry(cacheDir, key, input, compiled) ? key : undefined };
    }
    if (entry.input === input) return { ...entry.compiled, key };
  }
  return { ...compileSeccomp(seccomp, arch), key: undefined };
}

/** The filter that `cachedSeccomp` returned with this key, unless the cache has been emptied since. */
export function loadSeccomp(cacheDir: string, key: string): CompiledSeccomp | undefined {
  return readEntry(join(cacheDir, key))?.compiled;
}

/**
 * The host, as the compiler names it.
 * @throws {TypeError} on a host that cloche is not built for
 */
function hostArch(): HostArch {
  const { arch } = process;
  if (arch !== "x64" && arch !== "arm64") throw new TypeError(`cloche is not built for ${arch}`);
  return arch;
}

/** Everything that a filter depends on, as text; different inputs have different texts. JSON has no bigint. */
function inputText(seccomp: Seccomp, arch: HostArch): string {
  const { defaultAction, defaultErrnoRet, architectures, flags, listenerPath, syscalls } = seccomp;
  // In one piece it would take a third longer: Bun's JSON is at its best with flat arrays of strings.
  const profile = [defaultAction, defaultErrnoRet, architectures, flags, Boolean(listenerPath)];
  const lines = [JSON.stringify([compilerVersion, arch, profile])];
  for (const { names, action, errnoRet, args } of syscalls ?? []) {
    lines.push(JSON.stringify([action, errnoRet]), JSON.stringify(names));
    for (const { index, op, value, valueTwo } of args ?? []) {
      lines.push(` ${index} ${value} ${valueTwo} ${JSON.stringify(op)}`);
    }
  }
  return lines.join("\n");
}

/** A file: this header, the input, the filter. All numbers are little-endian. */
const header = {
  bytes: 32,
  /** "clocheBP". */
  magic: 0x50426568636f6c63n,
  magicOffset: 0,
  inputBytesOffset: 8,
  filterBytesOffset: 12,
  flagsOffset: 16,
  needsListenerOffset: 20,
  /** Of the filter, to notice damage. */
  hashOffset: 24,
} as const;

interface Entry {
  input: string;
  compiled: CompiledSeccomp;
}

function encodeEntry(text: string, { filter, flags, needsListener }: CompiledSeccomp): Uint8Array {
  const input = new TextEncoder().encode(text);
  const bytes = new Uint8Array(header.bytes + input.length + filter.length);
  const head = new DataView(bytes.buffer);
  head.setBigUint64(header.magicOffset, header.magic, true);
  head.setUint32(header.inputBytesOffset, input.length, true);
  head.setUint32(header.filterBytesOffset, filter.length, true);
  head.setUint32(header.flagsOffset, flags, true);
  head.setUint32(header.needsListenerOffset, needsListener ? 1 : 0, true);
  head.setBigUint64(header.hashOffset, quickHash(filter), true);
  bytes.set(input, header.bytes);
  bytes.set(filter, header.bytes + input.length);
  return bytes;
}

function decodeEntry(file: Uint8Array): Entry | undefined {
  const head = new DataView(file.buffer, file.byteOffset, file.length);
  if (file.length < header.bytes || head.getBigUint64(header.magicOffset, true) !== header.magic) return undefined;
  const filterOffset = header.bytes + head.getUint32(header.inputBytesOffset, true);
  if (filterOffset + head.getUint32(header.filterBytesOffset, true) !== file.length) return undefined;
  const filter = file.subarray(filterOffset);
  if (quickHash(filter) !== head.getBigUint64(header.hashOffset, true)) return undefined;
  const needsListener = head.getUint32(header.needsListenerOffset, true) === 1;
  return {
    input: new TextDecoder("utf-8", { ignoreBOM: true }).decode(file.subarray(header.bytes, filterOffset)),
    compiled: { filter, flags: head.getUint32(header.flagsOffset, true), needsListener },
  };
}

/** The entry in a file, or undefined if there is none that can be trusted. */
function readEntry(path: string): Entry | undefined {
  const file = readTrustedFile(path);
  return file && decodeEntry(file);
}

function readTrustedFile(path: string): Uint8Array | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return undefined; // usually ENOENT; whatever else it is, the filter can be compiled
  }
  try {
    const { mode, uid, size } = fstatSync(fd);
    const isOurs = uid === process.geteuid?.() && (mode & 0o022) === 0;
    if ((mode & constants.S_IFMT) !== constants.S_IFREG || !isOurs || size > maxFileBytes) return undefined;
    const file = new Uint8Array(size);
    return readSync(fd, file, 0, size, 0) === size ? file : undefined;
  } catch {
    return undefined;
  } finally {
    closeSync(fd);
  }
}

/** Whether the entry could be kept. A full or read-only file system is no reason not to run a container. */
function writeEntry(cacheDir: string, key: string, input: string, compiled: CompiledSeccomp): boolean {
  const path = join(cacheDir, key);
  const temporary = `${path}.${process.pid}.${process.hrtime.bigint()}`;
  try {
    mkdirSync(cacheDir, { recursive: true, mode: 0o700 });
    writeFileSync(temporary, encodeEntry(input, compiled), { mode: 0o600, flag: "wx" });
    renameSync(temporary, path);
    return true;
  } catch {
    removeIfThere(temporary);
    return false;
  }
}

/** Not rmSync with `force`: under Bun 1.4.5 that throws EFAULT where a parent is not a directory. */
function removeIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Usually it was never made; if it cannot be removed, it is in nobody's way either.
  }
}
