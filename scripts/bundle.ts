/**
 * Bundles cmd/main.ts into an executable. Usage: bundle.ts OUTFILE VERSION COMMIT
 *
 * node:fs, node:path and node:os, as our own sources import them, are exchanged for what specutils/lean/ has of them (the
 * libraries keep the real ones): loading these three is a quarter of a short call, docs/PERFORMANCE.md has the figures. An
 * import that is not there fails the build.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

const [outfile = "", version = "", commit = ""] = process.argv.slice(2);
const top = path.join(import.meta.dirname, "..");
const lean = path.join(top, "specutils/lean");

/** Numbers of this machine's architecture, which is the one that is built for. */
const virtual: Readonly<Record<string, string>> = {
  "lean:fs": `export * from ${JSON.stringify(`${lean}/fs.ts`)};
    export const constants = ${JSON.stringify(fs.constants)};`,
  "lean:os": `export const constants = ${JSON.stringify({ signals: os.constants.signals, errno: os.constants.errno })};
    import { readFileSync } from ${JSON.stringify(`${lean}/fs.ts`)};
    export const release = () => readFileSync("/proc/sys/kernel/osrelease", "utf8").trim();`,
};

const result = await Bun.build({
  entrypoints: [path.join(top, "cmd/main.ts")],
  minify: true,
  bytecode: true,
  format: "esm",
  splitting: true,
  // Small chunks without side effects go into those that are loaded with them anyway.
  minChunkSize: 65_536,
  define: {
    CLOCHE_VERSION: JSON.stringify(version),
    CLOCHE_COMMIT: JSON.stringify(commit),
    // So that tables by architecture are plain numbers.
    "process.arch": JSON.stringify(process.arch),
  },
  // What lies in the working directory, which is often a bundle, is not loaded (test/posture/working-directory.test.ts).
  compile: {
    outfile,
    // Bun wants to know its working directory's name, and ends when that was deleted, as a shim's is once the first container
    // of a pod is gone. Changed to itself by this name it has one; process.cwd() still asks the kernel.
    execArgv: ["--cwd=/proc/self/cwd"],
    autoloadBunfig: false,
    autoloadDotenv: false,
    autoloadTsconfig: false,
    autoloadPackageJson: false,
  },
  plugins: [
    {
      name: "lean",
      setup(build) {
        // Bun resolves node: modules before it asks plugins, so they are renamed in our sources first.
        build.onLoad({ filter: /\.ts$/ }, ({ path: file }) => {
          const source = fs.readFileSync(file, "utf8");
          const isOurs = file.startsWith(top) && !file.includes("/node_modules/") && !file.endsWith("/rare-fs.ts");
          return {
            contents: isOurs ? source.replaceAll(/ from "node:(fs|os|path)";/g, ' from "lean:$1";') : source,
            loader: "ts",
          };
        });
        build.onResolve({ filter: /^lean:/ }, ({ path: name }) =>
          name === "lean:path" ? { path: `${lean}/path.ts` } : { path: name, namespace: "lean" },
        );
        build.onLoad({ filter: /.*/, namespace: "lean" }, ({ path: name }) => ({
          contents: virtual[name] ?? "",
          loader: "ts",
        }));
      },
    },
  ],
});
for (const message of result.logs) console.error(String(message));
if (!result.success) process.exit(1);
