/** Where a container's cgroup lies: `linux.cgroupsPath` for the cgroupfs driver and for the systemd driver. */

import { SpecError } from "../../specutils/errors.ts";

const FIELD = "linux.cgroupsPath";
const CLAUSE = "config-linux.md#cgroups-path";
/** What engines send for the systemd driver: `slice:prefix:name`. */
const SYSTEMD_FORM = /^[^/:]*:[^/:]*:[^/:]+$/;

/**
 * The path below each mount point for the cgroupfs driver. A relative path is taken from the root of the hierarchy, so
 * that the same value means the same place whoever calls.
 *
 * @throws SpecError if the path leaves the hierarchy, is its root, or has the form for the systemd driver
 */
export function cgroupfsPath(id: string, cgroupsPath: string | undefined): string {
  if (cgroupsPath === undefined || cgroupsPath === "") return `/cloche-${id}`;
  if (SYSTEMD_FORM.test(cgroupsPath) && cgroupsPath.split(":")[0]?.endsWith(".slice")) {
    throw pathError(cgroupsPath, "this is the form for systemd (slice:prefix:name); pass --systemd-cgroup");
  }
  const parts = cgroupsPath.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw pathError(cgroupsPath, 'must not contain ".."');
  if (parts.length === 0) throw pathError(cgroupsPath, "must not be the root of the hierarchy");
  if (/[\0\n]/.test(cgroupsPath)) throw pathError(cgroupsPath, "must not contain a line break or a NUL");
  return `/${parts.join("/")}`;
}

/**
 * The slice and scope for the systemd driver.
 *
 * @throws SpecError if the value is not `slice:prefix:name`
 */
export function systemdUnitName(id: string, cgroupsPath: string | undefined): { slice: string; name: string } {
  if (cgroupsPath === undefined || cgroupsPath === "") {
    return { slice: "system.slice", name: `cloche-${escapeUnitName(id)}.scope` };
  }
  if (!SYSTEMD_FORM.test(cgroupsPath)) {
    throw pathError(cgroupsPath, "must have the form slice:prefix:name, because --systemd-cgroup is given");
  }
  const [slice = "", prefix = "", name = ""] = cgroupsPath.split(":");
  if (name.endsWith(".slice")) throw pathError(cgroupsPath, "a container needs a scope, not a slice");
  const unit = `${escapeUnitName(prefix === "" ? name : `${prefix}-${name}`)}.scope`;
  return { slice: slice === "" ? "system.slice" : slice, name: unit };
}

/**
 * The path of a slice: `a-b.slice` lies in `/a.slice/a-b.slice`, `-.slice` is the root (systemd.slice(5)).
 *
 * @throws SpecError if it is no slice name
 */
export function slicePath(slice: string): string {
  if (slice === "-.slice") return "";
  const stem = slice.endsWith(".slice") ? slice.slice(0, -".slice".length) : "";
  const parts = stem.split("-");
  if (stem === "" || slice.includes("/") || parts.includes("")) throw pathError(slice, "is not the name of a slice");
  return parts.map((_, index) => `/${parts.slice(0, index + 1).join("-")}.slice`).join("");
}

/** What systemd does not allow in a unit name is written `\xNN`, as systemd-escape(1) does. */
function escapeUnitName(name: string): string {
  return [...Buffer.from(name)]
    .map((byte) => {
      const char = String.fromCharCode(byte);
      return /[A-Za-z0-9:_.\\-]/.test(char) ? char : `\\x${byte.toString(16).padStart(2, "0")}`;
    })
    .join("");
}

function pathError(value: string, cause: string): SpecError {
  return new SpecError(`invalid ${FIELD} ${JSON.stringify(value)}: ${cause}`, FIELD, CLAUSE);
}
