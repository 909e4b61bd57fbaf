/**
 * What cloche uses of node:path, for the compiled executable (scripts/bundle.ts puts it in that one's place): loading
 * node:path costs as much as all of these files' work. Only POSIX paths. A test compares every function with node:path's.
 */

/** The path without `.`, `..` where they can be resolved, doubled and (but for a trailing one) superfluous slashes. */
export function normalize(path: string): string {
  const isRooted = path.startsWith("/");
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== "..") parts.push(part);
    else if (parts.length > 0 && parts.at(-1) !== "..") parts.pop();
    else if (!isRooted) parts.push("..");
  }
  const body = parts.join("/");
  const trail = path.endsWith("/") && body !== "" ? "/" : "";
  if (isRooted) return `/${body}${trail}`;
  return body === "" ? (path.endsWith("/") && path !== "" ? "./" : ".") : body + trail;
}

export function join(...paths: string[]): string {
  const joined = paths.filter((path) => path !== "").join("/");
  return joined === "" ? "." : normalize(joined);
}

export function resolve(...paths: string[]): string {
  let resolved = "";
  for (const path of paths.toReversed()) {
    if (path !== "") resolved = resolved === "" ? path : `${path}/${resolved}`;
    if (path.startsWith("/")) break;
  }
  if (!resolved.startsWith("/")) resolved = `${process.cwd()}/${resolved}`;
  const whole = normalize(resolved);
  return whole.length > 1 && whole.endsWith("/") ? whole.slice(0, -1) : whole;
}

export function isAbsolute(path: string): boolean {
  return path.startsWith("/");
}

export function dirname(path: string): string {
  const slash = path.lastIndexOf("/", endOf(path) - 1);
  if (slash < 1) return path.startsWith("/") ? "/" : ".";
  return slash === 1 && path.startsWith("/") ? "//" : path.slice(0, slash);
}

export function basename(path: string): string {
  const end = endOf(path);
  return path.slice(path.lastIndexOf("/", end - 1) + 1, end);
}

/** Where the path ends but for trailing slashes; at least 1 so that the root stays. */
function endOf(path: string): number {
  let end = path.length;
  while (end > 1 && path[end - 1] === "/") end--;
  return end;
}

export const posix = { normalize, join, resolve, isAbsolute, dirname, basename };

export default { ...posix, posix };
