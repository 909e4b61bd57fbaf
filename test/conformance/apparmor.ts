/** The AppArmor profile that the program linux_process_apparmor_profile expects on the host. */

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";

/** Forbids nothing: only its name matters. */
const PROFILE = `profile acme_secure_profile flags=(attach_disconnected) {
  file, capability, network, mount, umount, remount, pivot_root, ptrace, signal, unix, dbus,
}
`;

/** Runs `body` while the profile is loaded; on a host without AppArmor it is just run. */
export async function withAppArmorProfile<T>(body: () => Promise<T>): Promise<T> {
  const isLoaded = existsSync("/sys/kernel/security/apparmor/profiles") && parser("--replace");
  try {
    return await body();
  } finally {
    if (isLoaded) parser("--remove");
  }
}

function parser(action: string): boolean {
  return (
    spawnSync("apparmor_parser", [action, "--skip-cache"], { input: PROFILE, stdio: ["pipe", "ignore", "inherit"] })
      .status === 0
  );
}
