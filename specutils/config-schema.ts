/** The table of a whole config.json (config.md). */

import { idMapping, linuxSchema } from "./linux-schema.ts";
import { processSchema } from "./process-schema.ts";
import {
  absolutePath,
  anyText,
  bool,
  integer,
  list,
  nonEmptyText,
  object,
  oneOf,
  optional,
  optionalText,
  record,
  required,
  text,
  textLike,
} from "./schema.ts";
import type { Hook, Hooks, Mount, Root, Spec } from "./spec.ts";

const MOUNTS = "config.md#mounts";
const HOOKS = "config.md#posix-platform-hooks";
const FREEBSD = "config-freebsd.md";

/** What config.json may hold for other platforms, beside what `Spec` has for Linux. */
export interface OtherPlatforms {
  freebsd?: object;
  solaris?: object;
  windows?: object;
  zos?: object;
  vm?: object;
}

/** Semantic Versioning 2.0.0, as the spec asks for; which versions are supported is a rule, not a matter of form. */
const ociVersion = textLike(
  /^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$/,
  "a version such as 1.3.0",
  "config.md#specification-version",
);

const root = object<Root>("config.md#root", () => ({
  path: required(nonEmptyText),
  readonly: optional(bool),
}));

const mount = object<Mount>(MOUNTS, () => ({
  destination: required(nonEmptyText),
  type: optionalText(text),
  source: optionalText(text),
  options: optional(list(text)),
  uidMappings: optional(list(idMapping)),
  gidMappings: optional(list(idMapping)),
}));

const hook = object<Hook>(HOOKS, () => ({
  path: required(absolutePath(HOOKS)),
  args: optional(list(text)),
  env: optional(list(text)),
  timeout: optional(integer(1, 2 ** 31 - 1)),
}));

const hooks = object<Hooks>(HOOKS, () => ({
  prestart: optional(list(hook)),
  createRuntime: optional(list(hook)),
  createContainer: optional(list(hook)),
  startContainer: optional(list(hook)),
  poststart: optional(list(hook)),
  poststop: optional(list(hook)),
}));

/** Not ours to carry out, but wrong for anybody (config-freebsd.md#jail). */
const jail = object<{ host?: string; ip4?: string; ip6?: string; vnet?: string }>(FREEBSD, () => ({
  host: optionalText(oneOf(["new", "inherit"], FREEBSD)),
  ip4: optionalText(oneOf(["disable", "new", "inherit"], FREEBSD)),
  ip6: optionalText(oneOf(["disable", "new", "inherit"], FREEBSD)),
  vnet: optionalText(oneOf(["new", "inherit"], FREEBSD)),
}));

const anyObject = object<object>("config.md#platform-specific-configuration", () => ({}));

export const configSchema = object<Spec & OtherPlatforms>("config.md", () => ({
  ociVersion: required(ociVersion),
  root: optional(root),
  process: optional(processSchema),
  hostname: optionalText(text),
  domainname: optionalText(text),
  mounts: optional(list(mount)),
  hooks: optional(hooks),
  annotations: optional(record(anyText, nonEmptyText)),
  linux: optional(linuxSchema),
  freebsd: optional(object<{ jail?: object }>(FREEBSD, () => ({ jail: optional(jail) }))),
  solaris: optional(anyObject),
  windows: optional(anyObject),
  zos: optional(anyObject),
  vm: optional(anyObject),
}));
