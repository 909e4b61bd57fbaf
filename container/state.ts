/** `state`: what a container is and does, as the spec, runc and its callers want to see it. */

import { readFileSync } from "node:fs";
import type { State, Status } from "../specutils/spec.ts";
import type { Context } from "./context.ts";
import type { ExitRecord, SavedContainer } from "./record.ts";
import { readRecord } from "./store.ts";

/** How a container ended, as `state` and `events` tell it. */
export type ContainerExit =
  | ExitRecord
  /** `start` could not run the program; `message` says why. */
  | (Omit<ExitRecord, "reason"> & { reason: "start-failed"; message: string });

/** What `state` prints: the fields of runc (runtime.md#state and more), its sandbox, and how the process ended. */
export interface ContainerState {
  ociVersion: string;
  id: string;
  /** Host pid of the container process; 0 when it has ended or is not there yet. */
  pid: number;
  status: Status;
  bundle: string;
  rootfs: string;
  /** RFC 3339 with nanoseconds, UTC. */
  created: string;
  annotations?: Record<string, string>;
  /** Id of the root container of the sandbox that it is in: its own, or that of the pod. */
  sandboxId: string;
  exit?: ContainerExit;
}

/** The state of a container. @throws NotFoundError, StateFileError */
export async function stateOfContainer(context: Context, id: string): Promise<ContainerState> {
  return describe(await readRecord(context.root, id));
}

/** A record in the form that `state` and `list` print. */
export function describe(record: SavedContainer): ContainerState {
  const { ociVersion, id, sandboxId, status, bundle, rootfs, created, annotations, exit } = record;
  return {
    ociVersion,
    id,
    pid: livePid(record) ?? 0,
    status,
    bundle,
    rootfs,
    created,
    ...(Object.keys(annotations).length > 0 ? { annotations } : {}),
    sandboxId,
    ...(exit === undefined ? {} : { exit: describeExit(record, exit) }),
  };
}

/** How the container of `record` ended, with what `start` has said about it. */
export function describeExit({ startFailure }: SavedContainer, exit: ExitRecord): ContainerExit {
  return startFailure === undefined ? exit : { ...exit, reason: "start-failed", message: startFailure };
}

/** The same for hooks that run in the container's namespaces: with the pid as seen from there. */
export function containerHookState(record: SavedContainer): State {
  const state = hookState(record);
  if (state.pid !== undefined) state.pid = innermostPid(state.pid);
  return state;
}

/** The pid that a process has in its own pid namespace (NSpid in proc_pid_status(5)). */
function innermostPid(pid: number): number {
  const [, pids = String(pid)] = /^NSpid:\t(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(pids.split("\t").at(-1));
}

/** The state that hooks get on stdin (runtime.md#state): there is a pid only while there is a process. */
export function hookState(record: SavedContainer, status: Status = record.status): State {
  const { ociVersion, id, bundle, annotations } = record;
  const pid = status === "stopped" ? undefined : livePid(record);
  return { ociVersion, id, status, ...(pid === undefined ? {} : { pid }), bundle, annotations };
}

function livePid(record: SavedContainer): number | undefined {
  return record.status === "stopped" ? undefined : record.process?.pid;
}
