/** One process as the host sees it, read from /proc (proc_pid_status(5) and the pages beside it). */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** Names of all namespace types in /proc/PID/ns that can be told apart from outside. */
const NAMESPACE_FILES = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] as const;
export type NamespaceFile = (typeof NAMESPACE_FILES)[number];

export interface ProcessView {
  pid: number;
  parent: number;
  name: string;
  arguments: string[];
  environment: string[];
  /** Real, effective, saved and file system ids. */
  uids: number[];
  gids: number[];
  groups: number[];
  capabilities: { inheritable: bigint; permitted: bigint; effective: bigint; bounding: bigint; ambient: bigint };
  noNewPrivs: boolean;
  /** 0: none, 2: a filter; and how many of them are stacked. */
  seccomp: number;
  seccompFilters: number;
  threads: number;
  /** Link text of each open descriptor by number. */
  fds: Record<string, string>;
  namespaces: Record<NamespaceFile, string>;
  /** The process's root and working directory, as the host names them. */
  root: string;
  cwd: string;
  /** Lines of /proc/PID/cgroup: `hierarchy:controllers:path`. */
  cgroups: string[];
  oomScoreAdj: number;
  /** Device number of the controlling terminal, 0 for none. */
  terminal: number;
  session: number;
}

/** What a process executes, by name (proc_pid_comm(5)): for waiting, while its descriptors come and go. @throws Error when it does not exist */
export function programName(pid: number): string {
  return readFileSync(`/proc/${pid}/comm`, "utf8").trimEnd();
}

/** Looks at a process. @throws Error when it does not exist */
export function viewProcess(pid: number): ProcessView {
  const at = `/proc/${pid}`;
  const fields = Object.fromEntries(
    readFileSync(`${at}/status`, "utf8")
      .split("\n")
      .map((line) => line.split(":\t") as [string, string]),
  ) as Record<string, string>;
  const numbers = (field: string) => (fields[field] ?? "").split(/\s+/).filter(Boolean).map(Number);
  const mask = (field: string) => BigInt(`0x${fields[field] ?? "0"}`);
  const stat = readFileSync(`${at}/stat`, "latin1");
  const statFields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const link = (name: string) => readlinkSync(`${at}/${name}`);
  const strings = (name: string) => readFileSync(`${at}/${name}`, "utf8").split("\0").filter(Boolean);
  return {
    pid,
    parent: Number(fields["PPid"]),
    name: fields["Name"] ?? "",
    arguments: strings("cmdline"),
    environment: strings("environ"),
    uids: numbers("Uid"),
    gids: numbers("Gid"),
    groups: numbers("Groups"),
    capabilities: {
      inheritable: mask("CapInh"),
      permitted: mask("CapPrm"),
      effective: mask("CapEff"),
      bounding: mask("CapBnd"),
      ambient: mask("CapAmb"),
    },
    noNewPrivs: fields["NoNewPrivs"] === "1",
    seccomp: Number(fields["Seccomp"]),
    seccompFilters: Number(fields["Seccomp_filters"]),
    threads: Number(fields["Threads"]),
    fds: Object.fromEntries(readdirSync(`${at}/fd`).map((fd) => [fd, link(`fd/${fd}`)])),
    namespaces: Object.fromEntries(NAMESPACE_FILES.map((type) => [type, link(`ns/${type}`)])) as Record<
      NamespaceFile,
      string
    >,
    root: link("root"),
    cwd: link("cwd"),
    cgroups: readFileSync(`${at}/cgroup`, "utf8").trim().split("\n"),
    oomScoreAdj: Number(readFileSync(`${at}/oom_score_adj`, "utf8")),
    session: Number(statFields[3]),
    terminal: Number(statFields[4]),
  };
}

/**
 * Whether a process of the same user, with all capabilities but CAP_SYS_PTRACE, may look into it and trace it. A process
 * that is not dumpable is closed to it (prctl(2), ptrace(2)).
 */
export function isOpenToItsUser(pid: number): boolean {
  const { uids } = viewProcess(pid);
  const who = uids[0] === 0 ? ["--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"] : [`--reuid=${uids[0]}`];
  return spawnSync("setpriv", [...who, "--clear-groups", "readlink", `/proc/${pid}/exe`]).status === 0;
}

/** Processes whose parent is `pid`, by pid. */
export function childrenOf(pid: number): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((child) => parentOf(child) === pid)
    .toSorted((a, b) => a - b);
}

function parentOf(pid: number): number | undefined {
  try {
    return Number(/^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
  } catch {
    return undefined; // it has ended meanwhile
  }
}
