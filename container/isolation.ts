/** Isolation level `sandboxed`: what it makes of a container's config.json, and what it takes for it. */
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { baselineProfile } from "../sandbox/isolation/baseline.ts";
import { rootIds } from "../sandbox/isolation/mounts.ts";
import {
  type IdRange,
  type Part,
  RANGE_SIZE,
  type RootIds,
  type Sandboxed,
  sandboxedProcess,
  sandboxedSpec,
  wantsRange,
} from "../sandbox/isolation/spec.ts";
import type { RootOverlay } from "../sandbox/root-overlay.ts";
import { cachedSeccomp } from "../sandbox/seccomp/cache.ts";
import type { CompiledSeccomp } from "../sandbox/seccomp/compile.ts";
import { ClocheError, UnsupportedError } from "../specutils/errors.ts";
import type { Process, Spec } from "../specutils/spec.ts";
import { isHostRoot } from "../specutils/user-namespace.ts";
import { seccompPath, statePath } from "../statefile/names.ts";
import type { Context } from "./context.ts";
import { hostView } from "./host-view.ts";
import { type Claim, claimRange, hasAbandoned, releaseAbandoned, releaseRange, shareRange } from "./id-ranges.ts";
import { checkNoGofer, DEFAULT_ISOLATION, type IsolationSettings } from "./isolation-level.ts";
import { type MountPolicies, mountPolicies } from "./mount-policies.ts";
import { idsHost, idsWarnings, needsIds, whyNoIds, whyNoSandbox, whyNotServed, whyServesNone } from "./own-ids.ts";
import type { SavedContainer } from "./record.ts";
import { withLock } from "./store.ts";

/** What a record says of a sandboxed container. */
export interface SavedIsolation {
  level: "sandboxed";
  /** Missing if config.json has a user namespace of its own, or if none can be had here (own-ids.ts). */
  range?: IdRange;
  allowed: string[];
}

/** A container at level `sandboxed`. */
export interface Isolated {
  saved: SavedIsolation;
  spec: Spec;
  root: RootIds;
  parts: readonly Part[];
  policies: MountPolicies;
  baseline: CompiledSeccomp;
  overlay: RootOverlay | undefined;
  warnings: string[];
  /** Gives the ids back: for a container that is not made after all. */
  release(): void;
  /**
   * To be called once the record is saved: until then somebody may have taken the claim for one that was left behind.
   *
   * @throws ClocheError
   */
  check(): void;
  /** Whether mounts of the host that are to be in it have gone or come since they were looked at. */
  haveMountsChanged(): boolean;
}

/**
 * Makes a container's config.json that of a sandbox. Takes a range of ids, which `releaseIsolation` gives back, unless the
 * container joins a sandbox. Undefined where there can be no sandbox and nobody chose one.
 *
 * @param asked whether anybody chose the level, and the root container of the sandbox to join
 * @throws SpecError, UnsupportedError, and then nothing is taken
 */
export async function isolate(
  context: Context,
  container: { id: string; bundle: string; rootfs: string },
  spec: Spec,
  { isChosen, joins: joined }: { isChosen: boolean; joins: Pick<SavedContainer, "isolation" | "process"> | undefined },
): Promise<Isolated | undefined> {
  const settings = context.isolation ?? DEFAULT_ISOLATION;
  const host = hostView();
  const whyNot = whyNoSandbox(host.kernel);
  if (whyNot !== undefined) {
    if (isChosen) throw new UnsupportedError(`isolation level "sandboxed": ${whyNot}: use --isolation oci`);
    checkNoGofer(settings, spec);
    context.warn(`isolation: level "oci": ${whyNot}`);
    return undefined;
  }
  const { baselineAllow, idsUser, rootfsOverlay } = settings;
  const { bundle, rootfs } = container;
  const allowed = joined?.isolation?.allowed ?? [...baselineAllow];
  const baseline = baselineFilter(context.root, allowed);
  const policies = await mountPolicies(settings, spec);
  const { access } = policies;
  const hasLayer = rootfsOverlay !== "none";
  const transform = (range: IdRange | undefined, claim?: Claim, userNamespace?: string): Isolated => {
    const userns = userNamespace === undefined ? {} : { joined: userNamespace };
    const sandboxed = sandboxedSpec({ spec, bundle, rootfs, range, hasLayer, access, host, ...userns });
    if (access("/").access === "donated") checkRoot(sandboxed, rootfs);
    const saved: SavedIsolation = { level: "sandboxed", ...(range && { range }), allowed };
    const release = () => claim?.release();
    const check = () => {
      if (claim?.isHeld() === false)
        throw new ClocheError("its ids have been given to somebody else while it was created");
    };
    const overlay = rootOverlay(rootfsOverlay, container, sandboxed);
    const { haveMountsChanged } = host;
    return { ...sandboxed, policies, saved, baseline, overlay, release, check, haveMountsChanged };
  };
  const idsOfHost = idsHost(host.kernel);
  const withIds = (range: IdRange, userNamespace: string, claim?: Claim): Isolated => {
    const isolated = transform(range, claim, userNamespace);
    const why = whyNotServed(isolated, idsOfHost);
    if (why === undefined) return isolated;
    throw needsIds(why);
  };
  const withoutIds = (whyNoPolicy: string, warnings: readonly string[] = []): Isolated => {
    if (policies.isSet) throw new UnsupportedError(`gofer-policy: ${whyNoPolicy}`);
    const isolated = transform(undefined);
    return { ...isolated, warnings: [...warnings, ...isolated.warnings] };
  };
  if (!wantsRange(spec)) return withoutIds(OWN_USER_NAMESPACE);
  if (joined !== undefined) {
    const { range } = joined.isolation ?? {};
    if (range === undefined) return withoutIds(`${SERVED_IDS}, and the one that it joins has none`);
    return withIds(range, `/proc/${joined.process?.pid}/ns/user`);
  }
  const byDefault = (why: string): Isolated => {
    if (isChosen) throw needsIds(why);
    return withoutIds(`${SERVED_IDS}: ${why}`, idsWarnings(why, idsOfHost));
  };
  const whyNone = whyNoIds(idsOfHost);
  if (whyNone !== undefined) return byDefault(whyNone);
  const neighbour = neighbourOf(spec);
  const stateFile = statePath(context.root, container.id, container.id);
  if (neighbour !== undefined) {
    return orRelease(shareRange(neighbour.range, stateFile), (claim) => {
      // As long as it has processes nobody has given its ids back.
      if (neighbourOf(spec)?.path === neighbour.path) return withIds(neighbour.range, neighbour.path, claim);
      throw new ClocheError("the sandbox whose namespaces it asks for has ended");
    });
  }
  // Before anything else is checked that holds only with ids of its own.
  const whyNotRoot = whyServesNone(idsOfHost);
  if (
    whyNotRoot !== undefined &&
    access("/").access !== "donated" &&
    rootIds({ rootfs, hasLayer, host, access }) === "serve"
  ) {
    return byDefault(`root.path: ${whyNotRoot}`);
  }
  return orRelease(await claimRange(idsUser, stateFile), (claim) => {
    const isolated = transform(claim.range, claim);
    const why = whyNotServed(isolated, idsOfHost);
    if (why === undefined) return isolated;
    claim.release();
    return byDefault(why);
  });
}

/** What `make` makes of a claim, which is given back if it fails. */
function orRelease(claim: Claim, make: (claim: Claim) => Isolated): Isolated {
  try {
    return make(claim);
  } catch (error) {
    claim.release();
    throw error;
  }
}

/** Why a gofer policy cannot hold. */
const OWN_USER_NAMESPACE =
  "files are not served to a user namespace of config.json's own: leave linux.namespaces without one";
const SERVED_IDS = "files are served only to a sandbox with ids of its own";

/**
 * The user namespace of another sandbox, one of whose namespaces config.json asks for: what is in that belongs to it, and it
 * would be of no use to a container with other ids. The container ends with that sandbox, or has nothing more to share with it.
 */
function neighbourOf({ linux }: Spec): { path: string; range: IdRange } | undefined {
  for (const { type, path = "" } of linux?.namespaces ?? []) {
    const pid = /^\/proc\/(\d+)\/ns\/\w+$/.exec(path)?.[1];
    if (pid === undefined || !SHARED.has(type)) continue;
    const [uid, gid] = [rangeStart(`/proc/${pid}/uid_map`), rangeStart(`/proc/${pid}/gid_map`)];
    if (uid !== undefined && gid !== undefined) return { path: `/proc/${pid}/ns/user`, range: { uid, gid } };
  }
  return undefined;
}

/** Namespaces whose owner has rights that a container needs: to mount /proc, bind low ports, use what others made, say a hostname. */
const SHARED: ReadonlySet<string> = new Set(["pid", "network", "ipc", "uts"]);

/** The first host id of a sandbox's map; undefined for any other. */
function rangeStart(file: string): number | undefined {
  try {
    const [, start, size] = /^\s*0\s+(\d+)\s+(\d+)\s*$/.exec(readFileSync(file, "utf8")) ?? [];
    return Number(size) === RANGE_SIZE ? Number(start) : undefined;
  } catch {
    return undefined; // the process is gone: joining its namespace says so
  }
}

/** Gives back what `isolate` took. Members of a sandbox use the root container's. */
export function releaseIsolation(
  root: string,
  { id, sandboxId, isolation }: Pick<SavedContainer, "id" | "sandboxId" | "isolation">,
): void {
  if (isolation?.range !== undefined && id === sandboxId) releaseRange(isolation.range, statePath(root, id, id));
}

/**
 * Gives back what each `create` of a container's id has taken that was killed before it was refused. Preconditions: under the
 * container's lock.
 */
export function releaseOthers(
  root: string,
  { id, sandboxId, isolation }: Pick<SavedContainer, "id" | "sandboxId" | "isolation">,
): void {
  if (id === sandboxId) releaseAbandoned(statePath(root, id, id), isolation?.range);
}

/** Gives back what each `create` that was killed before it had saved its record may have taken for a container that is not there. */
export async function releaseTraces(root: string, id: string): Promise<void> {
  if (!isHostRoot()) return; // who has no ids to give has given none, and may not look
  const stateFile = statePath(root, id, id);
  if (!hasAbandoned(stateFile)) return;
  await withLock(root, id, () => {
    // Created again meanwhile: then they may be the new one's.
    if (!existsSync(stateFile)) releaseAbandoned(stateFile, undefined);
  });
}

/** What holds for a process that is added to a sandboxed container. @throws SpecError */
export function isolateExec(
  root: string,
  { range, allowed }: SavedIsolation,
  annotations: Record<string, string>,
  process: Process,
): { process: Process; baseline: CompiledSeccomp } {
  return { process: sandboxedProcess(process, range, annotations), baseline: baselineFilter(root, allowed) };
}

/** The baseline filter. @param allowed what it lets through */
function baselineFilter(root: string, allowed: readonly string[]): CompiledSeccomp {
  return cachedSeccomp(seccompPath(root), baselineProfile(allowed));
}

/** Directories that every host has some of, to put layers over for a moment. */
const PLACES = ["/mnt", "/media", "/srv", "/opt", "/home"];

/**
 * The layer over the root file system. One on disk is made for the container, below the directory, and stays.
 *
 * @throws UnsupportedError
 */
function rootOverlay(
  wanted: IsolationSettings["rootfsOverlay"],
  { id, rootfs }: { id: string; rootfs: string },
  { root }: Sandboxed,
): RootOverlay | undefined {
  if (wanted === "none") return undefined;
  if (root !== "map" && root !== "map-tree") {
    throw new UnsupportedError(
      `root.path: no layer can be laid over ${JSON.stringify(rootfs)}, which is served or has ids of its own: use --rootfs-overlay none`,
    );
  }
  const place = PLACES.find((path) => existsSync(path));
  if (place === undefined)
    throw new UnsupportedError(`--rootfs-overlay needs one of the directories ${PLACES.join(" ")}`);
  const mode = statSync(rootfs).mode & 0o7777;
  if (wanted === "memory") return { place, mode, directory: undefined };
  const directory = `${wanted}/${id}`;
  mkdirSync(`${directory}/work`, { recursive: true, mode: 0o700 });
  mkdirSync(`${directory}/upper`, { recursive: true });
  chmodSync(`${directory}/upper`, mode);
  return { place, mode, directory };
}

/** @throws UnsupportedError */
function checkRoot({ root }: Sandboxed, rootfs: string): void {
  if (root !== "serve") return;
  throw new UnsupportedError(
    `root.path: the ids of ${JSON.stringify(rootfs)} cannot be shifted on its file system (overlay is one of them): use --file-access auto`,
  );
}
