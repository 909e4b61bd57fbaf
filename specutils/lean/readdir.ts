/** The names in a directory, for `lean/fs.ts`. */

import { NR, sys } from "../syscall.ts";
import { O } from "./constants.ts";
import { failure } from "./failure.ts";
import { closeSync, lstatSync, openSync, textOf } from "./fs.ts";

const BUFFER_BYTES = 32_768;

// d_type of <dirent.h>.
const DT_UNKNOWN = 0;
const DT_DIR = 4;
const DT_REG = 8;
const DT_LNK = 10;

export interface Dirent {
  name: string;
  isDirectory(): boolean;
  isFile(): boolean;
  isSymbolicLink(): boolean;
}

export function readdirSync(directory: string): string[];
export function readdirSync(directory: string, options: { withFileTypes: true }): Dirent[];
export function readdirSync(directory: string, options?: { withFileTypes: true }): string[] | Dirent[] {
  const fd = openDirectory(directory);
  const entries: { name: string; type: number }[] = [];
  try {
    const bytes = new Uint8Array(BUFFER_BYTES);
    const view = new DataView(bytes.buffer);
    for (;;) {
      const length = sys(NR.getdents64, fd, bytes, bytes.length);
      if (length < 0) throw failure(length, "scandir", directory);
      if (length === 0) break;
      // struct linux_dirent64: 8 bytes inode, 8 offset, 2 length of the entry, 1 type, the name.
      for (let at = 0; at < length; at += view.getUint16(at + 16, true)) {
        const name = textOf(bytes.subarray(at + 19, bytes.indexOf(0, at + 19)));
        if (name !== "." && name !== "..") entries.push({ name, type: bytes[at + 18] ?? DT_UNKNOWN });
      }
    }
  } finally {
    closeSync(fd);
  }
  return options === undefined ? entries.map(({ name }) => name) : entries.map((entry) => direntOf(directory, entry));
}

function openDirectory(directory: string): number {
  try {
    return openSync(directory, O.RDONLY | O.DIRECTORY);
  } catch (error) {
    const { errno } = error as NodeJS.ErrnoException;
    if (errno === undefined) throw error;
    throw failure(errno, "scandir", directory);
  }
}

function direntOf(directory: string, { name, type }: { name: string; type: number }): Dirent {
  const found = type === DT_UNKNOWN ? lstatSync(`${directory}/${name}`, { throwIfNoEntry: false }) : undefined;
  return {
    name,
    isDirectory: () => found?.isDirectory() ?? type === DT_DIR,
    isFile: () => found?.isFile() ?? type === DT_REG,
    isSymbolicLink: () => found?.isSymbolicLink() ?? type === DT_LNK,
  };
}
