/**
 * Changes to the text of a JSON document that leave every other byte of it as it is: the position of things comes from
 * jsonc-parser, what is valid from our own strict reader.
 */

import { findNodeAtLocation, type Node, parseTree } from "jsonc-parser";
import { type Json, parseJson } from "../../specutils/json.ts";
import type { Insertion } from "./engine.ts";

/** One level of indentation of a text that has none to learn from. */
const DEFAULT_INDENT = "  ";

/** The document's object; a text of nothing but white space is an empty one. @throws JsonError, Error if it is no object */
export function parseObject(text: string): { [name: string]: Json } {
  const value = text.trim() === "" ? {} : parseJson(text);
  if (!isObject(value)) {
    throw new Error("must be an object");
  }
  return value;
}

/** Whether `value` is a JSON object. */
export function isObject(value: Json | undefined): value is { [name: string]: Json } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Where `"name": value` goes to be the last member of the object at `[parent]`, which is made if it is not there.
 * It is laid out as its neighbours are. Preconditions: `parseObject(text)` succeeds, `parent` is an object or missing.
 */
export function insertMember(text: string, parent: string, name: string, value: string): Insertion {
  const newline = text.includes("\r\n") ? "\r\n" : "\n";
  const member = (key: string, content: string) => `${JSON.stringify(key)}: ${content}`;
  const root = parseTree(text);
  const objectAt = (level: number, content: string) => {
    const [inner, outer] = [indent.repeat(level + 1), indent.repeat(level)];
    return isOneLine ? `{ ${content} }` : `{${newline}${inner}${content}${newline}${outer}}`;
  };
  const indent = root === undefined ? DEFAULT_INDENT : indentOf(text, root);
  const isOneLine = root !== undefined && (root.children ?? []).length > 0 && !textOf(text, root).includes("\n");
  if (root === undefined) {
    const inner = objectAt(1, member(name, value));
    return { offset: 0, text: `${objectAt(0, member(parent, inner))}${newline}` };
  }
  const target = findNodeAtLocation(root, [parent]);
  return target === undefined
    ? insertLast(text, root, member(parent, objectAt(1, member(name, value))), newline, indent)
    : insertLast(text, target, member(name, value), newline, indent.repeat(2));
}

/** `content` as the last member of `object`, on a line of its own unless the others share one. */
function insertLast(text: string, object: Node, content: string, newline: string, indent: string): Insertion {
  const last = object.children?.at(-1);
  if (last === undefined) {
    const closing = indent.slice(0, indent.length / 2);
    const outer = object.parent === undefined ? "" : closing;
    return { offset: object.offset + 1, text: `${newline}${indent}${content}${newline}${outer}` };
  }
  // The white space before the last member is the one between members, or, of an only member, the one after the brace.
  const gap = /\s*$/.exec(text.slice(object.offset + 1, last.offset))?.[0] ?? "";
  return { offset: last.offset + last.length, text: `,${gap === "" ? " " : gap}${content}` };
}

/** The text without the member at `[parent, name]`, the comma that it needed, and the space around it. */
export function removeMember(text: string, parent: string, name: string): string {
  const root = parseTree(text);
  const member = root && findNodeAtLocation(root, [parent, name])?.parent;
  const siblings = member?.parent?.children;
  if (member === undefined || siblings === undefined || member.parent === undefined) {
    return text;
  }
  const at = siblings.indexOf(member);
  const [before, after] = [siblings[at - 1], siblings[at + 1]];
  if (before !== undefined) {
    return cut(text, before.offset + before.length, member.offset + member.length);
  }
  return after === undefined
    ? cut(text, member.parent.offset + 1, member.parent.offset + member.parent.length - 1)
    : cut(text, member.offset, after.offset);
}

function cut(text: string, from: number, to: number): string {
  return text.slice(0, from) + text.slice(to);
}

function textOf(text: string, node: Node): string {
  return text.slice(node.offset, node.offset + node.length);
}

/** The white space at the beginning of the first member's line. */
function indentOf(text: string, root: Node): string {
  const first = root.children?.[0];
  const before = first === undefined ? "" : text.slice(root.offset + 1, first.offset);
  return /\n([ \t]+)$/.exec(before)?.[1] ?? DEFAULT_INDENT;
}
