/** Errors like node:fs', for `lean/fs.ts`. */

import { errnoName, strerror } from "../syscall.ts";

/** Where libuv, and so node:fs, has words of its own. */
const TEXTS: Readonly<Record<string, string>> = {
  EEXIST: "file already exists",
  EISDIR: "illegal operation on a directory",
  EBUSY: "resource busy or locked",
  ELOOP: "too many symbolic links encountered",
  ENAMETOOLONG: "name too long",
  EXDEV: "cross-device link not permitted",
};

/** @param errno negative, as system calls return it */
export function failure(errno: number, call: string, path?: string, dest?: string): NodeJS.ErrnoException {
  const code = errnoName(-errno);
  const where = path === undefined ? "" : ` '${path}'${dest === undefined ? "" : ` -> '${dest}'`}`;
  return Object.assign(new Error(`${code}: ${TEXTS[code] ?? strerror(-errno)}, ${call}${where}`), {
    errno,
    code,
    syscall: call,
    ...(path === undefined ? {} : { path }),
    ...(dest === undefined ? {} : { dest }),
  });
}
