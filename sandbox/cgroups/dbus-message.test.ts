import { expect, test } from "bun:test";
import { decodeBody, encodeMessage, messageLength, parseMessage, splitSignature } from "./dbus-message.ts";

const CALL = { type: 1, serial: 7, path: "/a", interface: "a.b", member: "Do", destination: "c.d" };

function roundTrip(signature: string, body: unknown[]): unknown[] {
  return decodeBody(parseMessage(encodeMessage({ ...CALL, signature, body })));
}

test("a message reads as it was written", () => {
  const body = ["name", [["A", { signature: "t", value: 2n ** 64n - 1n }]], [1, 2], true, -5n, 1.5, [3, 4]];
  expect(roundTrip("sa(sv)aubxday", body)).toEqual(["name", [["A", 2n ** 64n - 1n]], [1, 2], true, -5n, 1.5, [3, 4]]);
});

test("an empty array of structs is padded like a full one", () => {
  expect(roundTrip("ya(sv)y", [1, [], 2])).toEqual([1, [], 2]);
});

test("the header names the call", () => {
  const message = parseMessage(encodeMessage({ ...CALL, signature: "", body: [] }));
  expect(message).toMatchObject({ type: 1, serial: 7, member: "Do", signature: "" });
});

test("messageLength waits for the fixed part and then knows the whole", () => {
  const bytes = encodeMessage({ ...CALL, signature: "s", body: ["hello"] });
  expect(messageLength(bytes.subarray(0, 15))).toBeUndefined();
  expect(messageLength(bytes.subarray(0, 16))).toBe(bytes.length);
});

test("messageLength refuses more than D-Bus allows", () => {
  const bytes = encodeMessage({ ...CALL, signature: "", body: [] });
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(4, 2 ** 31, true);
  expect(() => messageLength(bytes)).toThrow(RangeError);
});

test("splitSignature keeps containers together", () => {
  expect(splitSignature("ssa(sv)a(sa(sv))a{sv}")).toEqual(["s", "s", "a(sv)", "a(sa(sv))", "a{sv}"]);
  expect(() => splitSignature("a(s")).toThrow("ends too early");
});
