/** What is printed for those who configure it themselves: CRI-O's stanza and Kubernetes' RuntimeClass. */

import type { RuntimeEntry } from "./engine.ts";

/** By what `cloche install` calls them. */
export const stanzas: Readonly<Record<string, (entry: RuntimeEntry) => string>> = {
  // crio.conf(5). The root differs from that of other engines, as CRI-O's own defaults do.
  crio: ({ name, path }) => `# /etc/crio/crio.conf.d/99-${name}.conf; then: systemctl restart crio
[crio.runtime.runtimes.${name}]
runtime_path = ${JSON.stringify(path)}
runtime_type = "oci"
runtime_root = "/run/cloche"
`,
  // For containerd's CRI plugin and for CRI-O: the handler is the runtime's name there.
  kubernetes: ({ name }) => `# kubectl apply -f FILE; a pod asks for it with "runtimeClassName: ${name}"
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata:
  name: ${name}
handler: ${name}
`,
};
