/** Runs seccomp's BPF programs, as the kernel does, to see what they answer. */

/** What the kernel shows to a filter: struct seccomp_data, without the instruction pointer. */
export interface SeccompData {
  /** `AUDIT_ARCH_*`. */
  readonly arch: number;
  /** The system call's number, unsigned. */
  readonly number: number;
  /** Up to six unsigned 64-bit arguments; missing ones are 0. */
  readonly args?: readonly bigint[];
}

const instructionBytes = 8;

/**
 * What `filter` (struct sock_filter[]) returns for a system call.
 * @throws {Error} if the program does what the kernel's verifier refuses: an unknown instruction, or a jump beyond the end
 */
export function runFilter(filter: Uint8Array, data: SeccompData): number {
  const program = new DataView(filter.buffer, filter.byteOffset, filter.byteLength);
  const input = encode(data);
  let accumulator = 0;
  for (let offset = 0; offset < filter.length; offset += instructionBytes) {
    const code = program.getUint16(offset, true);
    const constant = program.getUint32(offset + 4, true);
    const jump = (condition: boolean) => {
      offset += instructionBytes * program.getUint8(offset + (condition ? 2 : 3));
    };
    switch (code) {
      case 0x20: // ld [k]
        accumulator = input.getUint32(constant, true);
        break;
      case 0x54: // and #k
        accumulator = (accumulator & constant) >>> 0;
        break;
      case 0x05: // ja k
        offset += instructionBytes * constant;
        break;
      case 0x15: // jeq #k
        jump(accumulator === constant);
        break;
      case 0x25: // jgt #k
        jump(accumulator > constant);
        break;
      case 0x35: // jge #k
        jump(accumulator >= constant);
        break;
      case 0x06: // ret #k
        return constant;
      default:
        throw new Error(`instruction ${offset / instructionBytes} has the unknown code 0x${code.toString(16)}`);
    }
  }
  throw new Error("the program ran past its end");
}

function encode({ arch, number, args }: SeccompData): DataView {
  const view = new DataView(new ArrayBuffer(64));
  view.setUint32(0, number, true);
  view.setUint32(4, arch, true);
  args?.forEach((value, index) => {
    view.setBigUint64(16 + 8 * index, value, true);
  });
  return view;
}
