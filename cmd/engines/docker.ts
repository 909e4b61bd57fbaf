/** docker: `runtimes` of daemon.json (dockerd(8)). */

import { messageOf } from "../../specutils/errors.ts";
import type { Document, Engine } from "./engine.ts";
import { insertMember, isObject, parseObject, removeMember } from "./json-edit.ts";

/** @throws Error that says what to do, as the reader's alone may look as if cloche were the one that is choosy */
function parse(text: string): Document {
  try {
    return parseObject(text);
  } catch (error) {
    throw new Error(`${messageOf(error)}: correct it first (docker allows no comments either)`, { cause: error });
  }
}

export const docker: Engine = {
  name: "docker",
  signs: { programs: ["dockerd"], paths: ["/etc/docker"] },
  file: () => "/etc/docker/daemon.json",
  async parse(text) {
    const document = parse(text);
    const { runtimes } = document;
    if (runtimes !== undefined && !isObject(runtimes)) {
      throw new Error("runtimes: must be an object");
    }
    return document;
  },
  find: ({ runtimes }, name) => (isObject(runtimes) && Object.hasOwn(runtimes, name) ? runtimes[name] : undefined),
  pathIn: (found) => (isObject(found) ? found["path"] : undefined),
  async insert(text, _document, { name, path }) {
    if (name === "runc") {
      throw new Error('docker keeps the name "runc" for its own runtime: choose another with --name');
    }
    return insertMember(text, "runtimes", name, `{ "path": ${JSON.stringify(path)} }`);
  },
  without(document, name, inserted) {
    const { runtimes, ...others } = document;
    if (!isObject(runtimes)) {
      return document;
    }
    const { [name]: _removed, ...rest } = runtimes;
    const isOurs = inserted.includes('"runtimes"');
    return isOurs && Object.keys(rest).length === 0 ? others : { ...document, runtimes: rest };
  },
  remove(text, name) {
    return removeMember(text, "runtimes", name);
  },
  defaultRuntime: (document) => document["default-runtime"],
  warnings: async () => [],
  // A reload takes over what the file says of runtimes, but not that it says nothing any more.
  notice: { install: "systemctl reload docker", uninstall: "systemctl restart docker" },
  example: (name) => `docker run --rm --runtime=${name} IMAGE COMMAND`,
};
