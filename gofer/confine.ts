/**
 * What the gofer gives up before it answers the first request of the container: its root (an empty directory that nothing can
 * be added to), every descriptor that it does not need, most capabilities, and by a filter nearly all system calls.
 *
 * Capabilities and no_new_privs are a thread's own. The engine's other threads keep what the program was started with, which
 * start.ts limits; the filter holds for all threads.
 */
import { capabilityMask } from "../specutils/capabilities.ts";
import { AT_FDCWD, O_CLOEXEC } from "../specutils/syscall/constants.ts";
import { addressOf, NR, sys, throwErrno } from "../specutils/syscall.ts";
import type { Host } from "./host.ts";

const OPEN_TREE_CLONE = 1;
const FSOPEN_CLOEXEC = 1;
const FSMOUNT_CLOEXEC = 1;
const FSCONFIG_SET_STRING = 1;
const FSCONFIG_CMD_CREATE = 6;
/** MOUNT_ATTR_RDONLY | NOSUID | NODEV | NOEXEC. */
const SEALED_MOUNT = 0xf;
const STANDARD_FDS = [0, 1, 2];
const PR_SET_DUMPABLE = 4;
const PR_CAPBSET_DROP = 24;
const PR_SET_SECUREBITS = 28;
const PR_SET_NO_NEW_PRIVS = 38;
/** SECBIT_NO_SETUID_FIXUP: changing the user id for the file system takes no capability. */
const SECBIT_NO_SETUID_FIXUP = 1 << 2;
const LINUX_CAPABILITY_VERSION_3 = 0x20080522;

/** For the files; and CAP_SYS_ADMIN, without which the kernel passes no file through. */
const KEPT = [
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_SETFCAP",
  "CAP_SETGID",
  "CAP_SETUID",
  "CAP_SYS_ADMIN",
];
/** What the program is started with: for making the mount and for confining itself. */
const AT_START = [...KEPT, "CAP_SETPCAP", "CAP_SYS_CHROOT"];

function maskOf(names: readonly string[]): bigint {
  return capabilityMask(names, () => {});
}

/** The bounding set for {@link spawnHelper}: nothing that is executed in it can have more. */
export const GOFER_CAPABILITIES: bigint = maskOf(AT_START);

/** @throws SyscallError */
export function confine(host: Host, keptFds: readonly number[]): void {
  const emptyRoot = makeEmptyRoot();
  // A mount of /proc/self/fd alone: its magic links lead to our own descriptors, and ".." of it leads nowhere.
  const fdDirectory = throwErrno(
    "open_tree",
    "/proc/self/fd",
    sys(NR.open_tree, AT_FDCWD, "/proc/self/fd", OPEN_TREE_CLONE | O_CLOEXEC),
  );
  throwErrno("fchdir", "/", sys(NR.fchdir, emptyRoot));
  throwErrno("chroot", "/", sys(NR.chroot, "."));
  throwErrno("fchdir", "/proc/self/fd", sys(NR.fchdir, fdDirectory));
  // What the engine may yet print, of its own accord, must not end up in a file of the container's that got such a number.
  for (const fd of STANDARD_FDS) throwErrno("dup3", String(fd), sys(NR.dup3, emptyRoot, fd, O_CLOEXEC));
  closeAllBut([...STANDARD_FDS, ...keptFds]);
  const kept = maskOf(KEPT);
  for (let bit = 0n; bit < 64n; bit++) {
    const isKept = ((kept >> bit) & 1n) === 1n;
    // Fails for a number that no capability has.
    if (!isKept) sys(NR.prctl, PR_CAPBSET_DROP, Number(bit), 0, 0, 0);
  }
  throwErrno("prctl", "PR_SET_SECUREBITS", sys(NR.prctl, PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0));
  throwErrno("prctl", "PR_SET_NO_NEW_PRIVS", sys(NR.prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  throwErrno("prctl", "PR_SET_DUMPABLE", sys(NR.prctl, PR_SET_DUMPABLE, 0, 0, 0, 0));
  const usual = kept & ~maskOf(["CAP_FSETID"]);
  const withFsetid = capabilityData(kept, kept);
  const withoutFsetid = capabilityData(usual, kept);
  throwErrno("capset", "", sys(NR.capset, ...withoutFsetid));
  host.setFsetid = (isInForce) => {
    sys(NR.capset, ...(isInForce ? withFsetid : withoutFsetid));
  };
}

/** An empty file system that nobody can write to, mounted nowhere. */
function makeEmptyRoot(): number {
  const context = throwErrno("fsopen", "tmpfs", sys(NR.fsopen, "tmpfs", FSOPEN_CLOEXEC));
  sys(NR.fsconfig, context, FSCONFIG_SET_STRING, "size", "4096", 0);
  throwErrno("fsconfig", "tmpfs", sys(NR.fsconfig, context, FSCONFIG_CMD_CREATE, null, null, 0));
  const root = throwErrno("fsmount", "tmpfs", sys(NR.fsmount, context, FSMOUNT_CLOEXEC, SEALED_MOUNT));
  sys(NR.close, context);
  return root;
}

/** Closes every descriptor that is not to be kept, the engine's own included: its event loop is not used any more. */
function closeAllBut(kept: readonly number[]): void {
  let next = 0;
  for (const fd of kept.toSorted((a, b) => a - b)) {
    if (fd > next) sys(NR.close_range, next, fd - 1, 0);
    next = fd + 1;
  }
  sys(NR.close_range, next, 0xffffffff, 0);
}

/** struct __user_cap_header_struct and two struct __user_cap_data_struct, as addresses; the memory is kept for ever. */
const keptMemory: Uint8Array[] = [];
function capabilityData(effective: bigint, permitted: bigint): [number, number] {
  const words = new Uint32Array(new ArrayBuffer(32));
  const [e, p] = [effective, permitted].map((mask) => [Number(mask & 0xffffffffn), Number(mask >> 32n)]);
  words.set([LINUX_CAPABILITY_VERSION_3, 0, e?.[0] ?? 0, p?.[0] ?? 0, 0, e?.[1] ?? 0, p?.[1] ?? 0, 0]);
  const bytes = new Uint8Array(words.buffer);
  keptMemory.push(bytes);
  const address = Number(addressOf(bytes));
  return [address, address + 8];
}
