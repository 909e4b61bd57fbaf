/** Containers that share a sandbox, and what cloche has saved about them. */
import { readFileSync } from "node:fs";
import path from "node:path";
import type { SavedContainer } from "../../container/record.ts";
import type { ProcessRef } from "../../specutils/process-ref.ts";
import type { BundleSpec } from "./bundle.ts";
import type { Runtime } from "./runtime.ts";

/** Makes `spec` that of a container in the pod of root container `root`, as containerd's CRI plugin writes it. */
export function member(runtime: Runtime, spec: BundleSpec, root: string): void {
  spec.annotations = { "io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-id": root };
  const { pid } = runtime.state(root);
  spec.linux.namespaces = [
    { type: "network", path: `/proc/${pid}/ns/net` },
    { type: "ipc", path: `/proc/${pid}/ns/ipc` },
    { type: "uts", path: `/proc/${pid}/ns/uts` },
    { type: "pid" },
    { type: "mount" },
  ];
}

/** What is saved about a container that has been created. */
export function saved(
  runtime: Runtime,
  id: string,
  sandboxId: string,
): SavedContainer & { process: ProcessRef; sandbox: ProcessRef } {
  return JSON.parse(readFileSync(path.join(runtime.root, `${sandboxId}_${id}.state`), "utf8"));
}
