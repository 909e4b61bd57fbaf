/** Functions of node:fs that only rare paths use: node:fs is loaded by the first call. */

import type * as fs from "node:fs";

const real = (): typeof fs => process.getBuiltinModule("node:fs");

export const accessSync: typeof fs.accessSync = (...args) => real().accessSync(...args);
export const chmodSync: typeof fs.chmodSync = (...args) => real().chmodSync(...args);
export const chownSync: typeof fs.chownSync = (...args) => real().chownSync(...args);
export const fchownSync: typeof fs.fchownSync = (...args) => real().fchownSync(...args);
export const lutimesSync: typeof fs.lutimesSync = (...args) => real().lutimesSync(...args);
export const mkdtempSync = (prefix: string): string => real().mkdtempSync(prefix);
export const realpathSync = (path: string): string => real().realpathSync(path);
export const rmSync: typeof fs.rmSync = (...args) => real().rmSync(...args);
export const statfsSync = (path: string): fs.StatsFs => real().statfsSync(path);
