/** Containers for unit tests: a real process in a real cgroup with a saved record, without namespaces or root file system. */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { createCgroup } from "../sandbox/cgroups/create.ts";
import { killCgroup } from "../sandbox/cgroups/members.ts";
import { planCgroup } from "../sandbox/cgroups/plan.ts";
import { probeCgroupHost } from "../sandbox/cgroups/probe.ts";
import { removeCgroup } from "../sandbox/cgroups/remove.ts";
import { processRef } from "../specutils/process-ref.ts";
import type { Context } from "./context.ts";
import type { ProcessRef, SavedContainer } from "./record.ts";
import { createRecord } from "./store.ts";
import { testRecord } from "./test-record.ts";

/** A state root of its own, with what the operations said to the log, and everything that was started in it. */
export class TestRoot {
  readonly warnings: string[] = [];
  readonly context: Context = {
    root: mkdtempSync(`${tmpdir()}/cloche-test-`),
    systemdCgroup: false,
    isDebug: false,
    debug: () => {},
    warn: (message) => this.warnings.push(message),
  };
  private readonly children: ChildProcess[] = [];
  private readonly records: SavedContainer[] = [];

  /** Starts a process that ends only when it is told to, or what `script` says. */
  start(script = "exec sleep 1000"): { child: ChildProcess; ref: ProcessRef } {
    const child = spawn("sh", ["-c", script], { stdio: "ignore" });
    this.children.push(child);
    const ref = processRef(child.pid ?? 0);
    if (ref === undefined) throw new Error(`cannot start ${script}`);
    return { child, ref };
  }

  /** Saves a container with a process, with `hasCgroup` in a cgroup of its own. */
  async container(
    id: string,
    { hasCgroup, ...fields }: Partial<SavedContainer> & { hasCgroup?: boolean } = {},
  ): Promise<SavedContainer & { process: ProcessRef }> {
    const process = fields.process ?? this.start().ref;
    const record = { ...testRecord(id, { status: "running", ...fields }), process };
    if (hasCgroup === true) {
      const host = probeCgroupHost();
      const cgroupsPath = `/cloche-test-${globalThis.process.pid}-${id}`;
      const plan = planCgroup({ id, cgroupsPath, resources: undefined, systemd: false, annotations: {}, host });
      record.cgroup = await createCgroup(plan, process.pid);
    }
    this.records.push(record);
    await createRecord(this.context.root, record);
    return record;
  }

  /** Ends and removes all that is left. */
  async remove(): Promise<void> {
    for (const child of this.children) child.kill("SIGKILL");
    for (const { cgroup } of this.records) {
      if (cgroup === undefined) continue;
      killCgroup(cgroup, 9);
      await removeCgroup(cgroup);
    }
    rmSync(this.context.root, { recursive: true });
  }
}
