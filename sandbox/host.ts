/** What the host's kernel has switched on, as far as a config depends on it. */
import { existsSync, readFileSync, statSync } from "node:fs";

/** Whether AppArmor confines processes on this host. */
export function isAppArmorEnabled(): boolean {
  try {
    return readFileSync("/sys/module/apparmor/parameters/enabled", "utf8").startsWith("Y");
  } catch {
    return false; // the module is not there
  }
}

/** Whether an SELinux policy is loaded on this host (selinuxfs is mounted then). */
export function isSelinuxEnabled(): boolean {
  return existsSync("/sys/fs/selinux/enforce");
}

/** Whether a path leads to the network namespace that we are in. */
export function isHostNetwork(path: string): boolean {
  try {
    return statSync(path).ino === statSync("/proc/self/ns/net").ino;
  } catch {
    return false; // joining it says why it cannot be
  }
}
