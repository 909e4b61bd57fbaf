/** docker: `runtimes` of daemon.json (dockerd(8)). */

import type { Engine } from "./engine.ts";
import { insertMember, isObject, parseObject, removeMember } from "./json-edit.ts";

export const docker: Engine = {
  name: "docker",
  signs: { programs: ["dockerd"], paths: ["/etc/docker"] },
  file: () => "/etc/docker/daemon.json",
  async parse(text) {
    const document = parseObject(text);
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
