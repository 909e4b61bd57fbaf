/** An image made locally, as a tar archive that docker, containerd and podman load: busybox and nothing else. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { makeRootfs } from "../helpers/bundle.ts";

/** What a container does that is not told: it waits, reaps whatever comes to it, and ends cleanly on SIGTERM. */
export const waitCommand = ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done"];

/** Go's name of this machine's architecture. */
const architecture = process.arch === "x64" ? "amd64" : process.arch;

/**
 * Writes an image called `name` (with its tag) into a new file `archive`, in the format of `docker save`.
 * Files are made and removed beside it.
 */
export function makeImageArchive(archive: string, name: string): void {
  const directory = `${archive}.d`;
  const rootfs = path.join(directory, "rootfs");
  const layer = path.join(directory, "layer.tar");
  mkdirSync(rootfs, { recursive: true });
  makeRootfs(rootfs);
  execFileSync("tar", ["--directory", rootfs, "--owner=0", "--group=0", "--create", "--file", layer, "."]);
  const digest = createHash("sha256").update(readFileSync(layer)).digest("hex");
  const config = {
    architecture,
    os: "linux",
    config: { Env: ["PATH=/bin"], Cmd: waitCommand },
    rootfs: { type: "layers", diff_ids: [`sha256:${digest}`] },
  };
  const manifest = [{ Config: "config.json", RepoTags: [name], Layers: ["layer.tar"] }];
  writeFileSync(path.join(directory, "config.json"), JSON.stringify(config));
  writeFileSync(path.join(directory, "manifest.json"), JSON.stringify(manifest));
  execFileSync("tar", ["-C", directory, "-cf", archive, "manifest.json", "config.json", "layer.tar"]);
  rmSync(directory, { recursive: true });
}
