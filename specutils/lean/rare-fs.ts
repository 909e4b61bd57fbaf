/** Functions of node:fs that only rare paths use: node:fs is loaded by the first call. */

import type * as fs from "node:fs";

const real = (): typeof fs => process.getBuiltinModule("node:fs");

export const lutimesSync: typeof fs.lutimesSync = (...args) => real().lutimesSync(...args);
export const mkdtempSync = (prefix: string): string => real().mkdtempSync(prefix);
export const rmSync: typeof fs.rmSync = (...args) => real().rmSync(...args);
