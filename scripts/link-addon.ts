/**
 * Makes an executable load a library that lies beside it at its start: adds a DT_NEEDED entry (elf(5), ld.so(8)).
 *
 * For cloche, whose addon has to say something before the JavaScript engine reads its options (specutils/syscall/addon.c), and
 * which cannot be linked with it, being made by `bun build --compile`. patchelf does not get along with such a file: there is
 * no room for another entry, and what follows may not be moved. So DT_HASH, which nobody reads where there is a
 * DT_GNU_HASH, becomes the entry, and the name goes into the padding between two segments. Usage: EXECUTABLE LIBRARY
 */

import { closeSync, openSync, readSync, writeSync } from "node:fs";

// <elf.h>, 64 bit, little endian.
const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const DT = { NEEDED: 1n, HASH: 4n, STRTAB: 5n, STRSZ: 10n, GNU_HASH: 0x6ffffef5n } as const;
const HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const ENTRY_BYTES = 16;

interface Segment {
  /** Where its program header is in the file. */
  header: number;
  type: number;
  offset: number;
  address: bigint;
  size: number;
}

const [executable = "", library = ""] = process.argv.slice(2);
const fd = openSync(executable, "r+");

function read(offset: number, length: number): DataView {
  const bytes = new Uint8Array(length);
  if (readSync(fd, bytes, 0, length, offset) !== length) throw new Error("unexpected end of file");
  return new DataView(bytes.buffer);
}

function write64(offset: number, value: bigint): void {
  const bytes = new DataView(new ArrayBuffer(8));
  bytes.setBigUint64(0, value, true);
  writeSync(fd, new Uint8Array(bytes.buffer), 0, 8, offset);
}

const header = read(0, HEADER_BYTES);
// The magic number, 64 bit, little endian.
if (header.getUint32(0) !== 0x7f454c46 || header.getUint16(4) !== 0x0201) throw new Error("no 64-bit ELF file");
const firstHeader = Number(header.getBigUint64(32, true));
const segments = Array.from({ length: header.getUint16(56, true) }, (_, index): Segment => {
  const at = firstHeader + index * PROGRAM_HEADER_BYTES;
  const view = read(at, PROGRAM_HEADER_BYTES);
  return {
    header: at,
    type: view.getUint32(0, true),
    offset: Number(view.getBigUint64(8, true)),
    address: view.getBigUint64(16, true),
    size: Number(view.getBigUint64(32, true)),
  };
});

const dynamic = segments.find(({ type }) => type === PT_DYNAMIC);
if (dynamic === undefined) throw new Error("not dynamically linked");
const table = read(dynamic.offset, dynamic.size);
const entries = new Map<bigint, { at: number; value: bigint }>();
for (let at = 0; at < dynamic.size; at += ENTRY_BYTES) {
  entries.set(table.getBigUint64(at, true), { at: dynamic.offset + at, value: table.getBigUint64(at + 8, true) });
}
const entry = (tag: bigint) => {
  const found = entries.get(tag);
  if (found === undefined) throw new Error(`no dynamic entry ${tag}`);
  return found;
};
entry(DT.GNU_HASH);
const strings = entry(DT.STRTAB).value;

// The segment with the strings, and the padding up to the next one.
const loads = segments.filter(({ type }) => type === PT_LOAD).sort((one, other) => one.offset - other.offset);
const index = loads.findIndex(({ address, size }) => strings >= address && strings < address + BigInt(size));
const [home, next] = [loads[index], loads[index + 1]];
if (home === undefined || next === undefined) throw new Error("no segment with strings, or none after it");
const name = new TextEncoder().encode(`$ORIGIN/${library}\0`);
const nameAt = home.offset + home.size;
if (nameAt + name.length > next.offset) throw new Error("no room for a name");
if (new Uint8Array(read(nameAt, name.length).buffer).some((byte) => byte !== 0)) throw new Error("padding is in use");

writeSync(fd, name, 0, name.length, nameAt);
const nameOffset = home.address + BigInt(home.size) - strings;
for (const field of [32, 40]) write64(home.header + field, BigInt(home.size + name.length));
write64(entry(DT.STRSZ).at + 8, nameOffset + BigInt(name.length));
write64(entry(DT.HASH).at, DT.NEEDED);
write64(entry(DT.HASH).at + 8, nameOffset);
closeSync(fd);
