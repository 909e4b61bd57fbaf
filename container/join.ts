/**
 * Joining a sandbox: a container whose annotations name one shares its life with it instead of having a sandbox of its own.
 *
 * Which namespaces it shares is what its config.json says, by their paths. What joining adds is that its own pid namespace,
 * if it has one, is nested in the sandbox's, so that the end of the sandbox process is the end of it, and that it is counted
 * among the sandbox's containers (oom_score_adj, `--sandbox`, deletion).
 */
import { namespaceChoice } from "../sandbox/namespaces.ts";
import { NotFoundError, SpecError, StatusError, UsageError } from "../specutils/errors.ts";
import type { Linux, Spec } from "../specutils/spec.ts";
import { isOrdinaryUser } from "../specutils/user-namespace.ts";
import type { Context } from "./context.ts";
import type { SavedContainer } from "./record.ts";
import type { Save } from "./save.ts";
import { openPidfd } from "./signal-process.ts";
import { checkAllowed } from "./status.ts";
import { createRecord, readRecord, withContainer } from "./store.ts";

/** Ours: the id of the root container whose sandbox is joined. */
const OWN_ANNOTATION = "dev.cloche.sandbox";

/** What containerd's CRI plugin, and CRI-O, say of a pod's containers: which kind it is, and of which sandbox. */
const POD_ANNOTATIONS: readonly { type: string; sandboxId: string }[] = [
  { type: "io.kubernetes.cri.container-type", sandboxId: "io.kubernetes.cri.sandbox-id" },
  { type: "io.kubernetes.cri-o.ContainerType", sandboxId: "io.kubernetes.cri-o.SandboxID" },
];

/**
 * Whose pods are no sandboxes: podman lets a pod's containers outlive its infra container, which it ends first when it stops a
 * pod, while the others are still given time to end, and which it restarts alone.
 */
const NO_SANDBOX_OF = "libpod";

/** Whether an engine says that this container is there only to hold a pod's sandbox (Kubernetes' "pause"). */
export function isPodSandbox(annotations: Record<string, string>): boolean {
  return POD_ANNOTATIONS.some(({ type }) => annotations[type] === "sandbox");
}

/** The sandbox that annotations name, and whether it was an engine that named it. */
export function namedSandbox(annotations: Record<string, string>): { id: string; byEngine: boolean } | undefined {
  const own = annotations[OWN_ANNOTATION];
  if (own !== undefined) return { id: own, byEngine: false };
  if (annotations["io.container.manager"] === NO_SANDBOX_OF) return undefined;
  const pair = POD_ANNOTATIONS.find(({ type }) => annotations[type] === "container");
  const id = pair && annotations[pair.sandboxId];
  return id === undefined ? undefined : { id, byEngine: true };
}

/**
 * The root container of the sandbox that `spec` asks to join.
 *
 * An engine's annotations are about its pod, which need not have a container of its own here (podman's `--infra=false`), or
 * may share less than a sandbox's containers must: then the container gets a sandbox for itself, which isolates it more.
 *
 * @throws SpecError when `dev.cloche.sandbox` names what cannot be joined; StatusError when the sandbox has ended
 */
export async function sandboxToJoin(context: Context, id: string, spec: Spec): Promise<SavedContainer | undefined> {
  const named = namedSandbox(spec.annotations ?? {});
  if (named === undefined || (named.byEngine && named.id === id)) return undefined;
  const root = await findRootContainer(context.root, named.id);
  const reason = root === undefined ? "no root container has that id" : whyNot(root, spec.linux);
  if (root !== undefined && reason === undefined) {
    checkAllowed("join", root);
    return root;
  }
  if (!named.byEngine) {
    const field = `annotations.${OWN_ANNOTATION}`;
    throw new SpecError(`invalid config.json: ${field}: cannot join ${JSON.stringify(named.id)}: ${reason}`, field);
  }
  context.debug(`sandbox ${JSON.stringify(named.id)} is not joined: ${reason}`);
  return undefined;
}

async function findRootContainer(root: string, id: string): Promise<SavedContainer | undefined> {
  try {
    const record = await readRecord(root, id, { exact: true });
    return record.id === record.sandboxId ? record : undefined;
  } catch (error) {
    // UsageError: what can be no id of ours.
    if (error instanceof NotFoundError || error instanceof UsageError) return undefined;
    throw error;
  }
}

/** A pid namespace is created only by who is in the user namespace that owns its parent (pid_namespaces(7)). */
function whyNot(root: SavedContainer, linux: Linux | undefined): string | undefined {
  // The sandbox process shows its namespaces to root alone: its memory belongs to the host's user namespace.
  if (isOrdinaryUser() && nests(root, linux)) return "an ordinary user may not enter the pid namespace of a sandbox";
  // Level `sandboxed` joins its user namespace by itself (isolation.ts).
  const joinsUser = root.isolation?.range !== undefined && namespaceChoice(linux, "user").kind === "host";
  if (joinsUser || !root.ownUserNamespace || !nests(root, linux) || namespaceChoice(linux, "user").kind === "path")
    return undefined;
  return "it has a user namespace, which linux.namespaces must name by its path";
}

/** Whether the container's pid namespace is a new one, in one that the sandbox has. */
function nests(root: SavedContainer, linux: Linux | undefined): boolean {
  return root.ownPidNamespace && namespaceChoice(linux, "pid").kind === "new";
}

/**
 * A pidfd of the sandbox process in whose pid namespace the container's is to be nested, if it is.
 *
 * @throws StatusError when the sandbox has ended meanwhile
 */
export function openSandbox(root: SavedContainer | undefined, linux: Linux | undefined): number | undefined {
  if (root === undefined || !nests(root, linux)) return undefined;
  const pidfd = root.sandbox && openPidfd(root.sandbox);
  if (pidfd !== undefined) return pidfd;
  throw new StatusError(`cannot join the sandbox of container ${JSON.stringify(root.id)}: it has ended`, "stopped", []);
}

/** Saves the record of a container that joins a sandbox. @throws ExistsError, and as `whileJoined` */
export async function addMember(root: string, joined: SavedContainer, record: SavedContainer): Promise<void> {
  await whileJoined(root, joined, async (sandbox, save) => {
    sandbox.hasMembers = true;
    save();
    await createRecord(root, record);
  });
}

/**
 * Runs `fn` while the root container of a sandbox can neither end by our hand nor go.
 *
 * @param joined the root container for which the container was planned: a later one that has got its id is another
 * @throws StatusError when the sandbox has ended, NotFoundError when it is gone, and what `fn` throws
 */
export async function whileJoined(
  root: string,
  joined: SavedContainer,
  fn: (sandbox: SavedContainer, save: Save) => Promise<void>,
): Promise<void> {
  await withContainer(
    root,
    joined.id,
    (sandbox, save) => {
      checkAllowed("join", sandbox);
      return fn(sandbox, save);
    },
    { exact: true, only: joined },
  );
}
