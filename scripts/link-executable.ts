/**
 * Finishes the executable that `bun build --compile` has made. Usage: link-executable.ts EXECUTABLE LIBRARY
 *
 * 1. Has it load LIBRARY, which lies beside it, at its start: a DT_NEEDED entry (elf(5), ld.so(8)). cloche's addon has to say
 *    something before the JavaScript engine reads its options (specutils/syscall/engine.c). patchelf does not get along with
 *    such a file: there is no room for another entry. So DT_HASH, which nobody reads where there is a DT_GNU_HASH, becomes
 *    the entry, and the name goes into the padding between two segments.
 * 2. Writes it in one piece, for which file systems use large folios: mapping these takes a fifth less of a whole short call
 *    than mapping page after page (docs/PERFORMANCE.md). The code is not placed so that it could be mapped 2 MiB at a time: Linux
 *    5.10 then makes such pages of it while it is executed (READ_ONLY_THP_FOR_FS), and is suspected of hanging in that.
 */

import { closeSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";

// <elf.h>, 64 bit, little endian.
const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const DT = { NEEDED: 1n, HASH: 4n, STRTAB: 5n, STRSZ: 10n, GNU_HASH: 0x6ffffef5n } as const;
const PROGRAM_HEADER_BYTES = 56;
const ENTRY_BYTES = 16;
/** Where the file's header has where and how many the headers of segments are. */
const E = { PHOFF: 32, PHNUM: 56 } as const;
/** In a program header. */
const P = { OFFSET: 8, VADDR: 16, FILESZ: 32, MEMSZ: 40 } as const;

interface Segment {
  /** Where its program header is in the file. */
  header: number;
  type: number;
  offset: number;
  address: number;
  size: number;
}

const [executable = "", library = ""] = process.argv.slice(2);
const finished = addLibrary(readFileSync(executable), `$ORIGIN/${library}\0`);
// A new file, since the pages of the old one are small; and no writeFileSync, which asks for the space before.
rmSync(executable);
const fd = openSync(executable, "wx", 0o755);
for (let written = 0; written < finished.length; ) written += writeSync(fd, finished, written);
closeSync(fd);

function viewOf(file: Uint8Array): DataView {
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  // The magic number, 64 bit, little endian.
  if (view.getUint32(0) !== 0x7f454c46 || view.getUint16(4) !== 0x0201) throw new Error("no 64-bit ELF file");
  return view;
}

/** Reads a 64-bit number that is a place in memory or in the file: below 2^53. */
function place(view: DataView, at: number): number {
  return Number(view.getBigUint64(at, true));
}

function segmentsOf(view: DataView): Segment[] {
  const first = place(view, E.PHOFF);
  return Array.from({ length: view.getUint16(E.PHNUM, true) }, (_, index): Segment => {
    const header = first + index * PROGRAM_HEADER_BYTES;
    return {
      header,
      type: view.getUint32(header, true),
      offset: place(view, header + P.OFFSET),
      address: place(view, header + P.VADDR),
      size: place(view, header + P.FILESZ),
    };
  });
}

/** What is loaded, in the order of the file, which is that of memory, too. */
function loadedOf(segments: readonly Segment[]): Segment[] {
  return segments.filter(({ type }) => type === PT_LOAD).sort((one, other) => one.offset - other.offset);
}

function addLibrary(file: Uint8Array, nameText: string): Uint8Array {
  const view = viewOf(file);
  const segments = segmentsOf(view);
  const dynamic = segments.find(({ type }) => type === PT_DYNAMIC);
  if (dynamic === undefined) throw new Error("not dynamically linked");
  const entries = new Map<bigint, { at: number; value: bigint }>();
  for (let at = dynamic.offset; at < dynamic.offset + dynamic.size; at += ENTRY_BYTES) {
    entries.set(view.getBigUint64(at, true), { at, value: view.getBigUint64(at + 8, true) });
  }
  const entry = (tag: bigint) => {
    const found = entries.get(tag);
    if (found === undefined) throw new Error(`no dynamic entry ${tag}`);
    return found;
  };
  entry(DT.GNU_HASH);
  const strings = Number(entry(DT.STRTAB).value);

  // The segment with the strings, and the padding up to the next one.
  const loads = loadedOf(segments);
  const index = loads.findIndex(({ address, size }) => strings >= address && strings < address + size);
  const [home, next] = [loads[index], loads[index + 1]];
  if (home === undefined || next === undefined) throw new Error("no segment with strings, or none after it");
  if (place(view, home.header + P.MEMSZ) !== home.size)
    throw new Error("the segment with strings has memory behind it");
  const name = new TextEncoder().encode(nameText);
  const nameAt = home.offset + home.size;
  if (nameAt + name.length > next.offset) throw new Error("no room for a name");
  if (file.subarray(nameAt, nameAt + name.length).some((byte) => byte !== 0)) throw new Error("padding is in use");

  file.set(name, nameAt);
  const nameOffset = BigInt(home.address + home.size - strings);
  for (const field of [P.FILESZ, P.MEMSZ]) {
    view.setBigUint64(home.header + field, BigInt(home.size + name.length), true);
  }
  view.setBigUint64(entry(DT.STRSZ).at + 8, nameOffset + BigInt(name.length), true);
  view.setBigUint64(entry(DT.HASH).at, DT.NEEDED, true);
  view.setBigUint64(entry(DT.HASH).at + 8, nameOffset, true);
  return file;
}
