/** Reads the process of `exec`, apart from config.json, whose tables `exec` can do without. */

import { parseWith, readDocument } from "./document.ts";
import { checkProcess } from "./process-rules.ts";
import { processSchema } from "./process-schema.ts";
import type { Process } from "./spec.ts";

const PROCESS = "process file";

/** Reads the file of `exec --process`. @throws SpecError */
export function readProcess(path: string): Process {
  const process = parseWith(PROCESS, readDocument(path, PROCESS), processSchema);
  checkProcess(PROCESS, process, "", () => {});
  return process;
}
