/** Extended attributes, which node:fs has no calls for (xattr(7)). */
import { NR, sys } from "../../specutils/syscall.ts";

const MAX_BYTES = 65_536;

/** @returns 0 or -errno */
export function setXattr(file: string, name: string, value: Uint8Array): number {
  return sys(NR.setxattr, file, name, value, value.length, 0);
}

/** @returns the value, or -errno */
export function getXattr(file: string, name: string): Buffer | number {
  const value = Buffer.from(new ArrayBuffer(MAX_BYTES));
  const length = sys(NR.getxattr, file, name, value, value.length);
  return length < 0 ? length : value.subarray(0, length);
}

/** The names, or -errno. */
export function listXattrs(file: string): string[] | number {
  const list = Buffer.from(new ArrayBuffer(MAX_BYTES));
  const length = sys(NR.listxattr, file, list, list.length);
  return length < 0 ? length : list.toString("latin1", 0, length).split("\0").slice(0, -1);
}
