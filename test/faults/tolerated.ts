/** Calls whose failure a command may survive, each with the reason. What fails and is not named here has to fail the command. */
import type { Call } from "./injector.ts";

interface Tolerated {
  program: "cloche" | "cloche-init";
  call: RegExp;
  path?: RegExp;
  why: string;
}

const TOLERATED: readonly Tolerated[] = [
  { program: "cloche", call: /^statx$/, path: /\.state$/, why: "it is then looked for in the list of the directory" },
  { program: "cloche", call: /^statx$/, path: /kcore$/, why: "a link in /dev that need not be" },
  {
    program: "cloche",
    call: /^(readlinkat|unlinkat)$/,
    path: /\.lock$/,
    why: "the lock is free when its owner has ended",
  },
  { program: "cloche", call: /^readlinkat$/, path: /\.id-ranges\//, why: "a range whose container is gone is swept" },
  { program: "cloche", call: /^statx$/, path: /\/cgroup\//, why: "what is reserved is needed only by delete --force" },
  { program: "cloche", call: /^readlink$/, path: /exe$/, why: "the engine knows another way to its executable" },
  { program: "cloche", call: /^openat$/, path: /\/(rootfs|root|fd\/\d+)$/, why: "without /etc/passwd HOME is /" },
  { program: "cloche", call: /^openat2$/, path: /etc\/passwd$/, why: "without /etc/passwd HOME is /" },
  { program: "cloche", call: /^(statx|fstat|pread64)$/, path: /etc\/passwd$/, why: "without /etc/passwd HOME is /" },
  { program: "cloche", call: /^(openat|read|newfstatat)$/, path: /\.node$/, why: "the engine opens the addon again" },
  {
    program: "cloche",
    call: /^(openat|statx|fstat|read|pread64)$/,
    path: /\.seccomp\//,
    why: "the filter is compiled again",
  },
  { program: "cloche", call: /^(openat|read)$/, path: /oom_control$/, why: "the reason of an end need not be known" },
  { program: "cloche", call: /^mkdirat$/, path: /\/root$/, why: "the state root is there already" },
  { program: "cloche", call: /^ftruncate$/, why: "of the pid file, which is new" },
  { program: "cloche", call: /^(chdir|getcwd)$/, why: "the bundle may be gone when a hook runs" },
  { program: "cloche-init", call: /^fcntl$/, why: "the C library sets close-on-exec twice" },
  { program: "cloche-init", call: /^prctl$/, why: "PR_SET_NAME: what ps shows" },
  { program: "cloche-init", call: /^munmap$/, why: "the sandbox process tidying up" },
  {
    program: "cloche-init",
    call: /^(seccomp|close_range)$/,
    why: "ends the sandbox process, and so the container, a moment later",
  },
  { program: "cloche-init", call: /^(fstat|fchown)$/, why: "standard streams that nobody can own" },
  { program: "cloche-init", call: /^stat$/, why: "the search goes on with the next directory of PATH" },
  { program: "cloche-init", call: /^read$/, why: "of signals that came before start" },
  { program: "cloche-init", call: /^p?poll$/, why: "the container ends while it waits for start, as if killed" },
  { program: "cloche-init", call: /^sendmsg$/, why: "who dies before its program began is as one killed right after" },
];

export function isTolerated({ program, name, path }: Call): boolean {
  return TOLERATED.some(
    (entry) =>
      entry.program === program && entry.call.test(name) && (entry.path === undefined || entry.path.test(path)),
  );
}
