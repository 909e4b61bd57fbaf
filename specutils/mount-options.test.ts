import { describe, expect, test } from "bun:test";
import * as options from "./mount-options.ts";
import { knownMountOptions, type ParsedMountOptions, parseMountOptions } from "./mount-options.ts";

const NOTHING = parseMountOptions([]);

/** What the options change, compared with no options at all. */
function effectOf(text: string, type?: string): Partial<ParsedMountOptions> {
  const parsed = parseMountOptions(text.split(","), type);
  return Object.fromEntries(
    Object.entries(parsed).filter(([name, value]) => !Bun.deepEquals(value, NOTHING[name as keyof ParsedMountOptions])),
  );
}

describe("parseMountOptions", () => {
  test.each([
    ["defaults", {}],
    ["nosuid,nodev,noexec", { attrSet: 0xe }],
    ["suid,dev,exec", { attrClear: 0xe }],
    ["nosuid,suid", { attrClear: 0x2 }],
    ["suid,nosuid", { attrSet: 0x2 }],
    ["ro", { attrSet: 0x1, superblockSet: 0x1 }],
    ["ro,rw", { attrClear: 0x1, superblockClear: 0x1 }],
    ["rro", { recursiveSet: 0x1 }],
    ["rro,rrw", { recursiveClear: 0x1 }],
    ["rro,rw", { recursiveSet: 0x1, attrClear: 0x1, superblockClear: 0x1 }],
    ["nosymfollow,nodiratime", { attrSet: 0x200080 }],
    ["rnosuid,rnodev,rnoexec,rnodiratime,rnosymfollow", { recursiveSet: 0x20008e }],
    ["rsuid,rdev,rexec,rdiratime,rsymfollow", { recursiveClear: 0x20008e }],
    ["noatime", { attrSet: 0x10, attrClear: 0x70 }],
    ["strictatime", { attrSet: 0x20, attrClear: 0x70 }],
    ["relatime", { attrClear: 0x70 }],
    ["noatime,strictatime", { attrSet: 0x20, attrClear: 0x70 }],
    ["noatime,atime", { attrClear: 0x70 }],
    ["strictatime,atime", { attrSet: 0x20, attrClear: 0x70 }],
    ["strictatime,nostrictatime", { attrClear: 0x70 }],
    ["noatime,nostrictatime", { attrSet: 0x10, attrClear: 0x70 }],
    ["norelatime", {}],
    ["rnoatime", { recursiveSet: 0x10, recursiveClear: 0x70 }],
    ["rstrictatime,ratime", { recursiveSet: 0x20, recursiveClear: 0x70 }],
    ["rnoatime,ratime", { recursiveClear: 0x70 }],
    ["sync,dirsync,mand,lazytime,silent,iversion", { superblockSet: 0x28080d0 }],
    ["async,nomand,nolazytime,loud,noiversion", { superblockClear: 0x2808050 }],
    ["bind", { bind: "bind" }],
    ["rbind,bind", { bind: "rbind" }],
    ["remount", { remount: true }],
    [
      "rslave,shared",
      {
        propagation: [
          { type: 0x80000, recursive: true },
          { type: 0x100000, recursive: false },
        ],
      },
    ],
    ["idmap", { idmap: "idmap" }],
    ["ridmap", { idmap: "ridmap" }],
    ["tmpcopyup", { tmpcopyup: true }],
    ["mode=755,size=64k,constructor", { data: ["mode=755", "size=64k", "constructor"] }],
    ["", {}],
  ])("%s", (text, expected) => {
    expect(effectOf(text)).toEqual(expected as Partial<ParsedMountOptions>);
  });

  test("type bind makes a bind mount, and does not narrow rbind", () => {
    expect(effectOf("ro", "bind").bind).toBe("bind");
    expect(effectOf("rbind", "bind").bind).toBe("rbind");
    expect(effectOf("ro", "tmpfs").bind).toBeUndefined();
  });

  test("no attribute is set and cleared at once, whatever the options", () => {
    const all = knownMountOptions();
    for (const first of all) {
      for (const second of all) {
        const parsed = parseMountOptions([first, second]);
        expect(parsed.attrSet & parsed.attrClear & ~options.MOUNT_ATTR__ATIME).toBe(0);
        expect(parsed.recursiveSet & parsed.recursiveClear & ~options.MOUNT_ATTR__ATIME).toBe(0);
        expect(parsed.superblockSet & parsed.superblockClear).toBe(0);
      }
    }
  });
});
