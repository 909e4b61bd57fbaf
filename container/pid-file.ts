/** Pid files: the bare number, as containerd's shim reads it, there whole or not at all. */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { ClocheError, reasonOf } from "../specutils/errors.ts";
import { removeFile } from "../statefile/atomic-file.ts";

/** Removes a pid file that says `pid`: by now it may be that of somebody who had more luck with the same name. */
export function removePidFile(file: string, pid: number): void {
  try {
    if (readFileSync(file, "utf8") === String(pid)) removeFile(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}

/** Writes `pid` to `file`, replacing what is there. @throws ClocheError */
export function writePidFile(file: string, pid: number): void {
  const temporary = path.join(path.dirname(file), `.${path.basename(file)}.${process.pid}`);
  try {
    // A process with our pid may have been killed here. Nothing is written through a link that somebody else left.
    removeFile(temporary);
    writeFileSync(temporary, String(pid), { mode: 0o644, flag: "wx" });
    renameSync(temporary, file);
  } catch (error) {
    removeFile(temporary);
    throw new ClocheError(`cannot write pid file ${JSON.stringify(file)}: ${reasonOf(error)}`, { cause: error });
  }
}
