/** Reads the documents that callers hand over: config.json, the process of `exec`, the resources of `update`. */

import { isUtf8 } from "node:buffer";
import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { configSchema, type OtherPlatforms } from "./config-schema.ts";
import { reasonOf, SpecError } from "./errors.ts";
import { type Json, JsonError, parseJson } from "./json.ts";
import { OCI_VERSION_MAX, OCI_VERSION_MIN } from "./kernel-names.ts";
import { checkLinux } from "./linux-rules.ts";
import { checkMounts } from "./mount-rules.ts";
import { checkProcess } from "./process-rules.ts";
import { processSchema } from "./process-schema.ts";
import { quote } from "./quote.ts";
import { checkResources } from "./resources-rules.ts";
import { resourcesSchema } from "./resources-schema.ts";
import { brief, type Check, invalid, read } from "./schema.ts";
import type { Process, Resources, Spec } from "./spec.ts";
import { refuseUnsupported } from "./unsupported.ts";

const CONFIG = "config.json";
const PROCESS = "process file";
const RESOURCES = "resources";

/** Far above any real document (docker's are 20 to 70 KiB), and small enough to hold several times in memory. */
const MAX_BYTES = 16 * 1024 * 1024;

/** A minor version may add fields that have to be honoured, a patch version or a development suffix may not. */
const SUPPORTED_VERSION = /^1\.[0-3]\./;

export interface Config {
  spec: Spec;
  configPath: string;
  /** What was ignored or is deprecated, and harmless: one sentence each. */
  warnings: string[];
}

/**
 * Reads and checks the config.json of a bundle.
 * @throws SpecError when the config is missing or wrong, UnsupportedError when cloche cannot do what it asks for
 */
export function readConfig(bundle: string): Config {
  const configPath = join(bundle, "config.json");
  const spec = parseConfig(readDocument(configPath, CONFIG));
  return { spec, configPath, warnings: checkConfig(spec) };
}

/** Reads the text of a config.json: its form, not yet how its fields fit together. @throws SpecError */
export function parseConfig(text: string): Spec & OtherPlatforms {
  return parse(CONFIG, text, configSchema);
}

/**
 * Checks how the fields of a config fit together, and that cloche can do what they ask for.
 * @returns warnings
 * @throws SpecError, UnsupportedError
 */
export function checkConfig(spec: Spec & OtherPlatforms): string[] {
  const warnings: string[] = [];
  const warn = (message: string) => warnings.push(message);
  if (!SUPPORTED_VERSION.test(spec.ociVersion)) {
    const got = brief(spec.ociVersion);
    throw invalid(CONFIG, "ociVersion", `got ${got}, want ${OCI_VERSION_MIN} to ${OCI_VERSION_MAX}`);
  }
  if (spec.root === undefined) throw invalid(CONFIG, "root", "is required", "config.md#root");
  if (spec.process !== undefined) checkProcess(CONFIG, spec.process, "process.", warn);
  checkMounts(CONFIG, spec, warn);
  checkLinux(CONFIG, spec);
  for (const platform of ["freebsd", "solaris", "windows", "zos"] as const) {
    if (spec[platform] !== undefined) warn(`${platform}: is for another platform and ignored`);
  }
  refuseUnsupported(spec);
  return warnings;
}

/** Reads the file of `exec --process`. @throws SpecError */
export function readProcess(path: string): Process {
  const process = parse(PROCESS, readDocument(path, PROCESS), processSchema);
  checkProcess(PROCESS, process, "", () => {});
  return process;
}

/** Reads the document of `update --resources`. @throws SpecError */
export function readResources(text: string): Resources {
  const resources = parse(RESOURCES, text, resourcesSchema);
  checkResources(RESOURCES, resources, "");
  return resources;
}

function parse<T>(document: string, text: string, schema: Check<T>): T {
  let value: Json;
  try {
    value = parseJson(text);
  } catch (error) {
    if (error instanceof JsonError) throw invalid(document, "", error.message);
    throw error;
  }
  return read(document, value, schema);
}

/** Reads a regular file, so that a fifo or a device in its place cannot make the caller wait or run out of memory. */
function readDocument(path: string, document: string): string {
  let bytes: Buffer;
  try {
    bytes = readRegularFile(path);
  } catch (error) {
    throw new SpecError(`cannot read ${document} ${quote(path)}: ${reasonOf(error)}`, "", undefined, {
      cause: error,
    });
  }
  if (!isUtf8(bytes)) throw invalid(document, "", "is not UTF-8");
  return bytes.toString("utf8");
}

function readRegularFile(path: string): Buffer {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const status = fstatSync(fd);
    if (!status.isFile()) throw new Error("not a regular file");
    if (status.size > MAX_BYTES) throw new Error(`larger than ${MAX_BYTES} bytes`);
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}
