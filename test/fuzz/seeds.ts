/** Writes plans as cloche makes them into the directory named by the first argument: seeds for the fuzzer of cloche-init. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { disabledCgroupPlan } from "../../sandbox/cgroups/plan.ts";
import { type CreatePlanInput, planCreate } from "../../sandbox/create-plan.ts";
import { planExec } from "../../sandbox/exec-plan.ts";
import { encodePlan, type Plan } from "../../sandbox/plan.ts";
import { compileSeccomp } from "../../sandbox/seccomp/compile.ts";
import { parseConfig } from "../../specutils/config.ts";
import type { Spec } from "../../specutils/spec.ts";
import { defaultSpec } from "../helpers/bundle.ts";

const projectDirectory = path.join(import.meta.dirname, "..", "..");

function plan(spec: Spec, change: Partial<CreatePlanInput> = {}): Plan {
  return planCreate({
    id: "seed",
    spec,
    bundle: "/bundle",
    rootfs: "/bundle/rootfs",
    env: spec.process?.env ?? [],
    cgroup: disabledCgroupPlan({ version: "v2", hierarchies: [] }),
    seccomp: spec.linux?.seccomp && compileSeccomp(spec.linux.seccomp, "x64"),
    preserveFds: 0,
    noPivot: false,
    noNewKeyring: false,
    exitFd: 0,
    sandboxPidfd: 0,
    startFd: 0,
    currentLimit: () => [1024n, 4096n],
    debug: () => undefined,
    warn: () => undefined,
    ...change,
  });
}

/** Plans by name: a plain container, one that uses nearly all of config.json, and an exec. */
function plans(): Record<string, Plan> {
  const base = defaultSpec();
  // Labels and the like depend on the host; everything else is planned without looking at it.
  const full = parseConfig(readFileSync(path.join(projectDirectory, "specutils/testdata/full-config.json"), "utf8"));
  delete full.process?.apparmorProfile;
  delete full.process?.selinuxLabel;
  delete full.linux?.intelRdt;
  return {
    plain: plan(base),
    run: plan(base, { startFd: undefined, noPivot: true, noNewKeyring: true, preserveFds: 2 }),
    full: plan(full),
    exec: planExec({
      id: "seed",
      pid: process.pid,
      pidfd: 0,
      process: { user: { uid: 1, gid: 1, additionalGids: [1, 2, 3] }, args: ["a", "", "c"], cwd: "/", terminal: true },
      env: ["A=1"],
      seccomp: undefined,
      preserveFds: 0,
      currentLimit: () => [1024n, 4096n],
      debug: () => undefined,
      warn: () => undefined,
    }),
  };
}

const [, , directory] = process.argv;
if (directory === undefined) throw new Error("usage: seeds.ts DIRECTORY");
mkdirSync(directory, { recursive: true });
for (const [name, made] of Object.entries(plans())) {
  writeFileSync(path.join(directory, name), encodePlan(made));
}
