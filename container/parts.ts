/** Opens the host's files that are mounted from a descriptor: copies of mounts, mounted nowhere yet. */
import type { Part } from "../sandbox/isolation/spec.ts";
import { ClocheError } from "../specutils/errors.ts";
import { AT_EMPTY_PATH, AT_FDCWD, O_CLOEXEC, O_PATH } from "../specutils/syscall/constants.ts";
import { NR, openat2, sys, throwErrno } from "../specutils/syscall.ts";
import { mountIdOf } from "./host-view.ts";

const OPEN_TREE_CLONE = 1;
const RESOLVE_NO_SYMLINKS = 4;
const EINVAL = 22;

/**
 * A copy of a mount without those below it; undefined for one that the kernel copies only by itself, as it does not copy it
 * along with a tree either (a mount namespace that is bound to a file).
 *
 * @throws ClocheError, SyscallError
 */
export function openPart({ source, mountId, field }: Part): number | undefined {
  if (mountId === undefined) {
    const flags = OPEN_TREE_CLONE | O_CLOEXEC;
    return throwErrno("open_tree", source, sys(NR.open_tree, AT_FDCWD, source, flags));
  }
  // Above it may be directories that others write to: what they put there since it was looked at is not followed.
  const found = openat2(AT_FDCWD, source, O_PATH | O_CLOEXEC, 0, RESOLVE_NO_SYMLINKS);
  try {
    if (mountIdOf(found) !== mountId) {
      throw new ClocheError(`${field}: the mount at ${JSON.stringify(source)} is another one by now`);
    }
    const result = sys(NR.open_tree, found, "", OPEN_TREE_CLONE | O_CLOEXEC | AT_EMPTY_PATH);
    return result === -EINVAL ? undefined : throwErrno("open_tree", source, result);
  } finally {
    sys(NR.close, found);
  }
}
