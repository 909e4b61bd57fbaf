/** What `create` finds out and checks before anything happens: the config, the paths, the cgroup, the filter. */
import { statSync } from "node:fs";
import path from "node:path";
import { disabledCgroupPlan, planCgroup } from "../sandbox/cgroups/plan.ts";
import { probeCgroupHost } from "../sandbox/cgroups/probe.ts";
import { dirsToMake } from "../sandbox/cgroups/reserve.ts";
import type { CgroupPlan } from "../sandbox/cgroups/types.ts";
import { withoutCgroupRights } from "../sandbox/cgroups/unprivileged.ts";
import { findResctrl } from "../sandbox/intel-rdt.ts";
import { isNew, namespaceChoice } from "../sandbox/namespaces.ts";
import { type CachedSeccomp, cachedSeccomp } from "../sandbox/seccomp/cache.ts";
import { readConfig } from "../specutils/config.ts";
import { reasonOf, SpecError } from "../specutils/errors.ts";
import { ownProcessRef } from "../specutils/process-ref.ts";
import type { Spec } from "../specutils/spec.ts";
import { isHostRoot } from "../specutils/user-namespace.ts";
import { seccompPath } from "../statefile/names.ts";
import type { Context } from "./context.ts";
import type { CreateOptions } from "./create.ts";
import { inheritedListenFds } from "./environment.ts";
import { formatTime } from "./exit-record.ts";
import type { Isolated } from "./isolation.ts";
import { type AskedLevel, checkNoGofer, levelOf } from "./isolation-level.ts";
import { sandboxToJoin } from "./join.ts";
import type { SavedContainer } from "./record.ts";
import { RECORD_VERSION } from "./record.ts";
import { checkPreserved, checkTerminal } from "./streams.ts";

export interface Prepared {
  spec: Spec;
  /** The root container of the sandbox that it joins, if it joins one. */
  joins: SavedContainer | undefined;
  /** Absolute. */
  rootfs: string;
  cgroup: CgroupPlan;
  seccomp: CachedSeccomp | undefined;
  /** Undefined at level `oci`; otherwise `spec` is what that level has made of config.json. */
  isolated: Isolated | undefined;
  /** Where resctrl is mounted, if the container is to have a group there. */
  resctrl: string | undefined;
  /** All descriptors that the program gets beyond stdio, and how many of them are LISTEN_FDS. */
  preserveFds: number;
  listenFds: number;
}

/**
 * Checks and plans what does not need a process.
 *
 * @param canRelay whether somebody stays to relay a terminal: foreground `run`
 * @throws UsageError, SpecError, UnsupportedError
 */
export async function prepareCreate(context: Context, options: CreateOptions, canRelay: boolean): Promise<Prepared> {
  const { spec, warnings } = readConfig(options.bundle);
  for (const warning of warnings) context.debug(warning);
  const { linux } = spec;
  const rootfs = path.resolve(options.bundle, spec.root?.path ?? "");
  checkRootfs(rootfs);
  const listenFds = inheritedListenFds();
  const preserveFds = options.preserveFds + listenFds;
  checkPreserved(preserveFds);
  checkListener(spec);
  checkTerminal(spec.process?.terminal === true, options.consoleSocket, canRelay);
  const seccomp = linux?.seccomp === undefined ? undefined : cachedSeccomp(seccompPath(context.root), linux.seccomp);
  const joins = await sandboxToJoin(context, options.id, spec);
  const cgroup = planContainerCgroup(context, options.id, spec);
  const resctrl = linux?.intelRdt === undefined ? undefined : findResctrl();
  // Last, as it takes a range of ids. Who joins a sandbox has its level.
  const { level, isChosen } = joins === undefined ? levelOf(context.isolation, spec) : levelOfSandbox(joins);
  if (level === "oci") checkNoGofer(context.isolation, spec);
  const isolated =
    level === "oci"
      ? undefined
      : await (await import("./isolation.ts")).isolate(context, { ...options, rootfs }, spec, { isChosen, joins });
  return { spec: isolated?.spec ?? spec, joins, rootfs, cgroup, seccomp, isolated, resctrl, preserveFds, listenFds };
}

function levelOfSandbox({ isolation }: SavedContainer): AskedLevel {
  return { level: isolation?.level ?? "oci", isChosen: true };
}

function planContainerCgroup(context: Context, id: string, spec: Spec): CgroupPlan {
  const host = probeCgroupHost();
  if (context.cgroupManager === "disabled") return disabledCgroupPlan(host);
  const { linux } = spec;
  const plan = planCgroup({
    id,
    cgroupsPath: linux?.cgroupsPath,
    resources: linux?.resources,
    systemd: context.systemdCgroup,
    annotations: spec.annotations ?? {},
    host,
  });
  return isHostRoot() ? plan : withoutCgroupRights(plan);
}

function checkRootfs(rootfs: string): void {
  let reason = "";
  try {
    if (!statSync(rootfs).isDirectory()) reason = "not a directory";
  } catch (error) {
    reason = reasonOf(error);
  }
  if (reason !== "") {
    throw new SpecError(`invalid config.json: root.path: ${JSON.stringify(rootfs)}: ${reason}`, "root.path");
  }
}

/** The agent has to be there by `start`, which is too late to say that the path is wrong. */
function checkListener({ linux }: Spec): void {
  const listenerPath = linux?.seccomp?.listenerPath;
  if (listenerPath === undefined || listenerPath === "") return;
  const found = statSync(listenerPath, { throwIfNoEntry: false });
  if (found?.isSocket() === true) return;
  const field = "linux.seccomp.listenerPath";
  const reason = found === undefined ? "no such file or directory" : "not a socket";
  throw new SpecError(`invalid config.json: ${field}: ${JSON.stringify(listenerPath)}: ${reason}`, field);
}

/** The record of a container that is about to be created. */
export function newRecord(options: CreateOptions, prepared: Prepared): SavedContainer {
  const { spec, rootfs, seccomp, isolated } = prepared;
  const record: SavedContainer = {
    version: RECORD_VERSION,
    id: options.id,
    sandboxId: prepared.joins?.id ?? options.id,
    ociVersion: spec.ociVersion,
    bundle: options.bundle,
    rootfs,
    // What tells two of one id apart: the clock has no nanoseconds, and two processes may look at it in one microsecond.
    created: formatTime(microsecondsNow() * 1000n + BigInt(process.pid % 1000)),
    annotations: spec.annotations ?? {},
    status: "creating",
    creator: ownProcessRef(),
    ownPidNamespace: isNew(spec.linux, "pid"),
    ownUserNamespace: namespaceChoice(spec.linux, "user").kind !== "host",
  };
  if (isolated !== undefined) record.isolation = isolated.saved;
  const { personality, memoryPolicy } = spec.linux ?? {};
  if (personality !== undefined || memoryPolicy !== undefined) {
    record.linux = { ...(personality && { personality }), ...(memoryPolicy && { memoryPolicy }) };
  }
  if (spec.process?.oomScoreAdj !== undefined) record.oomScoreAdj = spec.process.oomScoreAdj;
  const reserved = dirsToMake(prepared.cgroup);
  if (reserved.length > 0) record.reservedCgroupDirs = reserved;
  const { poststart, poststop } = spec.hooks ?? {};
  if (poststart !== undefined || poststop !== undefined) {
    record.hooks = { ...(poststart && { poststart }), ...(poststop && { poststop }) };
  }
  if (seccomp?.key !== undefined) record.seccompFilter = seccomp.key;
  const { listenerPath, listenerMetadata } = spec.linux?.seccomp ?? {};
  if (seccomp?.needsListener === true && listenerPath !== undefined) {
    record.seccompListener = {
      path: listenerPath,
      ...(listenerMetadata !== undefined && { metadata: listenerMetadata }),
    };
  }
  if (spec.hooks?.startContainer?.length || record.seccompListener !== undefined) record.hasStartSteps = true;
  return record;
}

/** Microseconds since 1970: Date.now() has milliseconds only. */
function microsecondsNow(): bigint {
  return BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000));
}
