/** `cloche create`: makes a container from a bundle, up to the point where its program would run. */

import { loading } from "../specutils/spans.ts";
import { bundleFlags, createOptionsOf } from "./bundle-flags.ts";
import { command } from "./command.ts";

export default command({
  name: "create",
  summary: "create a container from a bundle",
  synopsis: "<container-id>",
  arity: [1, 1],
  flags: bundleFlags,
  details: "The container has its namespaces, mounts and cgroup; its program starts with `cloche start`.",
  async run({ context, flags, id }) {
    const { createContainer } = await loading("load container/create", () => import("../container/create.ts"));
    await createContainer(context, createOptionsOf(id, flags));
  },
});
