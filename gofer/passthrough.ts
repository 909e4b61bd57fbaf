/**
 * Backing ids: the kernel reads, writes and maps the host's file itself, and the gofer never sees the data (fuse passthrough,
 * Linux 6.9). One id per file, shared by all who have it open, as the kernel demands.
 *
 * An id is made of a descriptor that is not open for writing (O_PATH, or read-only), so that nobody holds a file open for
 * writing who did not ask to: executing it would fail with ETXTBSY.
 */
import { constants } from "node:os";
import { NR, sys } from "../specutils/syscall.ts";
import { type Arena, AT } from "./arena.ts";
import { EOPNOTSUPP, EPERM } from "./host.ts";
import type { Nodes } from "./nodes.ts";
import { FUSE_DEV_IOC_BACKING_CLOSE, FUSE_DEV_IOC_BACKING_OPEN } from "./protocol.ts";

const { ELOOP, ENOTTY, EINVAL } = constants.errno;
/** What says that there is no passthrough here at all: no CAP_SYS_ADMIN, an old kernel, file systems stacked too deep. */
const NEVER: readonly number[] = [EPERM, EOPNOTSUPP, ELOOP, ENOTTY, EINVAL];

/** How many ids are kept of files that are not open; each keeps a file of the host in the kernel's memory. */
const MAX_IDLE = 1024;

/** The backing ids of one connection. */
export class Passthrough {
  isEnabled: boolean;
  readonly #fuseFd: number;
  readonly #arena: Arena;
  /** Nodes with an id and not open, the one closed last at the end. */
  readonly #idle = new Set<number>();
  #wasUsed = false;

  constructor(arena: Arena, fuseFd: number, isEnabled: boolean) {
    this.#arena = arena;
    this.#fuseFd = fuseFd;
    this.isEnabled = isEnabled;
  }

  /** Counts one more opening of a node; returns its id, or -errno. Only when `isEnabled`. */
  open(nodes: Nodes, node: number, fd: number): number {
    let id = nodes.backing[node] ?? 0;
    if (id === 0) {
      id = this.#make(fd);
      if (id <= 0) return id;
      nodes.backing[node] = id;
    }
    nodes.opens[node] = (nodes.opens[node] ?? 0) + 1;
    this.#idle.delete(node);
    return id;
  }

  /** Counts one opening less. */
  close(nodes: Nodes, node: number): void {
    const left = Math.max(0, (nodes.opens[node] ?? 0) - 1);
    nodes.opens[node] = left;
    if (left > 0 || nodes.backing[node] === 0) return;
    this.#idle.add(node);
    if (this.#idle.size <= MAX_IDLE) return;
    const [oldest] = this.#idle;
    if (oldest !== undefined) this.drop(nodes, oldest);
  }

  /** Gives the id of a node back, which is not open or will be forgotten. */
  drop(nodes: Nodes, node: number): void {
    this.#idle.delete(node);
    const id = nodes.backing[node] ?? 0;
    nodes.opens[node] = 0;
    if (id === 0) return;
    nodes.backing[node] = 0;
    this.#arena.u32[AT.scratch >> 2] = id;
    sys(NR.ioctl, this.#fuseFd, FUSE_DEV_IOC_BACKING_CLOSE, this.#arena.base + AT.scratch);
  }

  /** A new id. The first failure decides whether there is passthrough; a file must not be opened in both ways at once. */
  #make(fd: number): number {
    const { u32, base } = this.#arena;
    const at = AT.scratch >> 2;
    u32[at] = fd;
    u32[at + 1] = 0;
    u32[at + 2] = 0;
    u32[at + 3] = 0;
    const id = sys(NR.ioctl, this.#fuseFd, FUSE_DEV_IOC_BACKING_OPEN, base + AT.scratch);
    if (id > 0) this.#wasUsed = true;
    else if (!this.#wasUsed && NEVER.includes(-id)) this.isEnabled = false;
    return id;
  }
}
