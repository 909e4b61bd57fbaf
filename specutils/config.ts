/** Reads config.json, and the resources of `update`. */

import { join } from "node:path";
import { configSchema, type OtherPlatforms } from "./config-schema.ts";
import { parseWith, readDocument } from "./document.ts";
import { OCI_VERSION_MAX, OCI_VERSION_MIN } from "./kernel-names.ts";
import { checkLinux } from "./linux-rules.ts";
import { checkMounts } from "./mount-rules.ts";
import { checkProcess } from "./process-rules.ts";
import { checkResources } from "./resources-rules.ts";
import { resourcesSchema } from "./resources-schema.ts";
import { brief, invalid } from "./schema.ts";
import type { Resources, Spec } from "./spec.ts";
import { refuseUnsupported } from "./unsupported.ts";

const CONFIG = "config.json";
const RESOURCES = "resources";

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
  return parseWith(CONFIG, text, configSchema);
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

/** Reads the document of `update --resources`. @throws SpecError */
export function readResources(text: string): Resources {
  const resources = parseWith(RESOURCES, text, resourcesSchema);
  checkResources(RESOURCES, resources, "");
  return resources;
}
