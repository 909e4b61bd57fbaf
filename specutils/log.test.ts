import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type LogTarget, openLog } from "./log.ts";

const directory = mkdtempSync(join(tmpdir(), "cloche-log-"));
afterAll(() => rmSync(directory, { recursive: true }));
let count = 0;

function newLog(options: Partial<LogTarget> = {}) {
  count += 1;
  const file = join(directory, `${count}.log`);
  const log = openLog({ file, format: "json", isDebug: false, ...options });
  return { file, log, read: () => readFileSync(file, "utf8") };
}

const levels = (text: string) =>
  text
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line).level);

describe("log", () => {
  test("makes no file when nothing is logged", async () => {
    const { log, file } = newLog();
    log.debug("not shown");
    await log.close();
    expect(existsSync(file)).toBe(false);
  });

  test("writes an error as one JSON object with level, msg and an RFC 3339 time, and appends it", async () => {
    const { log, file, read } = newLog();
    writeFileSync(file, "{}\n");
    log.error('cannot "x"\n');
    await log.close();
    const [first, second, ...rest] = read().split("\n");
    expect([first, ...rest]).toEqual(["{}", ""]);
    const line = JSON.parse(second ?? "");
    expect(line).toEqual({ level: "error", msg: 'cannot "x"\n', time: expect.any(String) });
    expect(line.time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  });

  test("writes text lines as runc does", async () => {
    const { log, read } = newLog({ format: "text" });
    log.error('cannot "x"');
    log.warn("odd");
    await log.close();
    expect(read()).toMatch(/^time="[^"]+Z" level=error msg="cannot \\"x\\""\ntime="[^"]+Z" level=warning msg="odd"\n$/);
  });

  test("drops warnings from a JSON file that gets an error, so that podman can read it as one object", async () => {
    const { log, read } = newLog();
    log.warn("odd");
    log.error("failed");
    await log.close();
    expect(levels(read())).toEqual(["error"]);
  });

  test("keeps warnings in a JSON file when nothing failed", async () => {
    const { log, read } = newLog();
    log.warn("odd");
    await log.close();
    expect(levels(read())).toEqual(["warning"]);
  });

  test("with debug writes every line in order", async () => {
    const { log, read } = newLog({ isDebug: true });
    log.debug("one");
    log.warn("two");
    log.error("three");
    await log.close();
    expect(levels(read())).toEqual(["debug", "warning", "error"]);
  });

  test("has a line in the file when the call returns, once the first one is there", async () => {
    const { log, read } = newLog({ isDebug: true });
    log.debug("one");
    while (!existsSync(join(directory, `${count}.log`)) || read() === "") {
      await new Promise((resolve) => setImmediate(resolve));
    }
    log.debug("two");
    log.debug("three");
    expect(levels(read())).toEqual(["debug", "debug", "debug"]);
    await log.close();
  });

  test("reports a file that cannot be opened when it is closed, and not before", async () => {
    const { log } = newLog({ file: "/nope/x.log" });
    log.error("failed");
    await expect(log.close()).rejects.toThrow("no such file or directory");
  });
});
