/** System call numbers by name, read from the generated table when the first one is asked for. */
import type { Architecture } from "./constants.ts";
import { syscallTable } from "./syscall-table.ts";

/**
 * Numbers of one architecture's system calls by name. A name that is not in it does not exist there.
 *
 * Parsing takes about a tenth of a millisecond: get the map once for a whole profile.
 */
export function syscallNumbers(architecture: Architecture): Map<string, number> {
  const numbers = new Map<string, number>();
  for (const line of syscallTable.trim().split("\n")) {
    const columns = line.split(" ");
    const [name, number] = [columns[0], columns[architecture.column]];
    if (name !== undefined && number !== undefined && number !== "-") numbers.set(name, Number(number));
  }
  return numbers;
}

/** Whether it is one of arm's own calls (cacheflush, set_tls, …), far above all others (asm/unistd.h: `__ARM_NR_BASE`). */
export function isArmPrivateCall(number: number): boolean {
  return number >= 0x0f0000 && number <= 0x0fffff;
}

/** A call that does the work of several: `selector`, its first argument, says which. */
export interface MultiplexedCall {
  readonly multiplexer: "socketcall" | "ipc";
  readonly selector: number;
}

/** Selectors of socketcall(2), from linux/net.h, and of ipc(2), from linux/ipc.h. */
const selectors: Readonly<Record<MultiplexedCall["multiplexer"], Readonly<Record<string, number>>>> = {
  socketcall: {
    socket: 1,
    bind: 2,
    connect: 3,
    listen: 4,
    accept: 5,
    getsockname: 6,
    getpeername: 7,
    socketpair: 8,
    send: 9,
    recv: 10,
    sendto: 11,
    recvfrom: 12,
    shutdown: 13,
    setsockopt: 14,
    getsockopt: 15,
    sendmsg: 16,
    recvmsg: 17,
    accept4: 18,
    recvmmsg: 19,
    sendmmsg: 20,
  },
  ipc: {
    semop: 1,
    semget: 2,
    semctl: 3,
    semtimedop: 4,
    msgsnd: 11,
    msgrcv: 12,
    msgget: 13,
    msgctl: 14,
    shmat: 21,
    shmdt: 22,
    shmget: 23,
    shmctl: 24,
  },
};

const multiplexedCalls = new Map<string, MultiplexedCall>();

/** How a program reaches the system call `name` through socketcall(2) or ipc(2), if it can. */
export function multiplexedCall(name: string): MultiplexedCall | undefined {
  if (multiplexedCalls.size === 0) {
    for (const multiplexer of ["socketcall", "ipc"] as const) {
      for (const [call, selector] of Object.entries(selectors[multiplexer])) {
        multiplexedCalls.set(call, { multiplexer, selector });
      }
    }
  }
  return multiplexedCalls.get(name);
}
