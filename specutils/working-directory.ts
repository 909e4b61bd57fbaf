/** The working directory of this process; `/` if that was deleted, as it may be under a containerd shim (a bundle). */
export function workingDirectory(): string {
  try {
    return process.cwd();
  } catch {
    return "/";
  }
}
