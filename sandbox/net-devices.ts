/** `linux.netDevices`: network devices of the host that move into the container (config-linux.md#network-devices). */
import { closeSync, constants, openSync } from "node:fs";
import { SpecError, SyscallError } from "../specutils/errors.ts";
import { quote } from "../specutils/quote.ts";
import type { NetDevice } from "../specutils/spec.ts";
import {
  attribute,
  attributesOf,
  type Message,
  NLM_F_CREATE,
  NLM_F_DUMP,
  numberAttribute,
  openNetlink,
  request,
  textAttribute,
} from "./netlink.ts";

const RTM_NEWLINK = 16;
const RTM_GETLINK = 18;
const RTM_NEWADDR = 20;
const RTM_GETADDR = 22;

/** struct ifinfomsg: family, type, index, flags, mask of the flags to change. */
const LINK_HEADER = 16;
const IFF_UP = 1;
const IFLA_IFNAME = 3;
const IFLA_NET_NS_FD = 28;

/** struct ifaddrmsg: family, prefix length, flags, scope, index. */
const ADDRESS_HEADER = 8;
const IFA_F_PERMANENT = 0x80;
const RT_SCOPE_UNIVERSE = 0;
const IFA_LABEL = 3;
const IFA_CACHEINFO = 6;

const ENODEV = 19;

/** Devices that have been moved. */
export interface MovedDevices {
  /** Moves them back, under their old names, with their addresses; for a container that fails to come up. */
  moveBack(): void;
  /** Closes what `moveBack` needs. */
  close(): void;
}

/** A network namespace: a socket in it, and a file that stands for it. */
interface Side {
  socket: number;
  file: string;
}

/**
 * Moves devices from our network namespace to that of `pid`, gives them their new names and their addresses, and puts them up.
 *
 * @throws SpecError naming the device that is not there, or whose name is taken; SyscallError. All are where they were then.
 */
export function moveNetDevices(devices: Readonly<Record<string, NetDevice>>, pid: number): MovedDevices {
  const host: Side = { socket: openNetlink(), file: "/proc/self/ns/net" };
  const file = `/proc/${pid}/ns/net`;
  let container: Side;
  try {
    container = { socket: openNetlink(file), file };
  } catch (error) {
    closeSync(host.socket);
    throw error;
  }
  const done: (() => void)[] = [];
  const moved: MovedDevices = {
    moveBack() {
      for (const undo of done.splice(0).reverse()) undo();
    },
    close() {
      closeSync(host.socket);
      closeSync(container.socket);
    },
  };
  try {
    for (const [name, { name: newName = name }] of Object.entries(devices)) {
      const field = `linux.netDevices[${quote(name)}]`;
      done.push(moveOne(host, container, name, newName, field));
    }
    return moved;
  } catch (error) {
    moved.moveBack();
    moved.close();
    throw error;
  }
}

/** Moves one device and returns what takes it back. */
function moveOne(host: Side, container: Side, name: string, newName: string, field: string): () => void {
  const device = findLink(host.socket, name, field);
  if (device === undefined) throw new SpecError(`${field}: there is no network device of that name`, field);
  // Names with a template are made unique by the kernel.
  if (!newName.includes("%") && findLink(container.socket, newName, field) !== undefined) {
    throw new SpecError(`${field}.name: the container has a network device ${quote(newName)} already`, field);
  }
  const addresses = permanentAddresses(host.socket, device.index, field);
  const before = new Set(listLinks(container.socket, field).map(({ index }) => index));
  const findArrived = () => listLinks(container.socket, field).find(({ index }) => !before.has(index));
  try {
    transfer(host, container, device.index, newName, field);
  } catch (error) {
    // The kernel moves first and names then.
    const stranded = findArrived();
    if (stranded !== undefined) transfer(container, host, stranded.index, name, field);
    throw error;
  }
  const arrived = findArrived();
  if (arrived === undefined) throw new SpecError(`${field}: the network device is gone`, field);
  const undo = () => {
    transfer(container, host, arrived.index, name, field);
    const back = findLink(host.socket, name, field);
    if (back === undefined) return;
    setUp(host.socket, back.index, device.isUp, field);
    addAddresses(host.socket, back.index, addresses, field);
  };
  try {
    setUp(container.socket, arrived.index, true, field);
    addAddresses(container.socket, arrived.index, addresses, field);
  } catch (error) {
    undo();
    throw error;
  }
  return undo;
}

interface Link {
  index: number;
  isUp: boolean;
}

function parseLink({ body }: Message): Link {
  const view = new DataView(body.buffer, body.byteOffset);
  return { index: view.getInt32(4, true), isUp: (view.getUint32(8, true) & IFF_UP) !== 0 };
}

function linkHeader(index: number, flags: number, change: number): Uint8Array {
  const header = new DataView(new ArrayBuffer(LINK_HEADER));
  header.setInt32(4, index, true);
  header.setUint32(8, flags, true);
  header.setUint32(12, change, true);
  return new Uint8Array(header.buffer);
}

function findLink(socket: number, name: string, field: string): Link | undefined {
  try {
    const [answer] = request(socket, RTM_GETLINK, 0, linkHeader(0, 0, 0), [textAttribute(IFLA_IFNAME, name)], field);
    return answer === undefined ? undefined : parseLink(answer);
  } catch (error) {
    if (error instanceof SyscallError && error.errno === ENODEV) return undefined;
    throw error;
  }
}

function listLinks(socket: number, field: string): Link[] {
  return request(socket, RTM_GETLINK, NLM_F_DUMP, linkHeader(0, 0, 0), [], field).map(parseLink);
}

/** Moving puts a device down and takes its addresses; all else of it, such as its MTU, moves along. */
function transfer(from: Side, to: Side, index: number, name: string, field: string): void {
  const namespace = openSync(to.file, constants.O_RDONLY);
  try {
    const attributes = [numberAttribute(IFLA_NET_NS_FD, namespace), textAttribute(IFLA_IFNAME, name)];
    request(from.socket, RTM_NEWLINK, 0, linkHeader(index, 0, 0), attributes, field);
  } finally {
    closeSync(namespace);
  }
}

function setUp(socket: number, index: number, isUp: boolean, field: string): void {
  request(socket, RTM_NEWLINK, 0, linkHeader(index, isUp ? IFF_UP : 0, IFF_UP), [], `${field}: set it up`);
}

/** Those that somebody has given it, with global scope; what the kernel made up itself it makes up again. */
function permanentAddresses(socket: number, index: number, field: string): Message[] {
  return request(socket, RTM_GETADDR, NLM_F_DUMP, new Uint8Array(ADDRESS_HEADER), [], field).filter(({ body }) => {
    const view = new DataView(body.buffer, body.byteOffset);
    const isPermanent = (view.getUint8(2) & IFA_F_PERMANENT) !== 0;
    return isPermanent && view.getUint8(3) === RT_SCOPE_UNIVERSE && view.getUint32(4, true) === index;
  });
}

function addAddresses(socket: number, index: number, addresses: readonly Message[], field: string): void {
  for (const { body } of addresses) {
    const header = body.slice(0, ADDRESS_HEADER);
    new DataView(header.buffer).setUint32(4, index, true);
    // A label begins with the name of the device; the times are those of an address without end anyway.
    const attributes = [...attributesOf(body, ADDRESS_HEADER)]
      .filter(([type]) => type !== IFA_LABEL && type !== IFA_CACHEINFO)
      .map(([type, value]) => attribute(type, value));
    request(socket, RTM_NEWADDR, NLM_F_CREATE, header, attributes, `${field}: add an address`);
  }
}
