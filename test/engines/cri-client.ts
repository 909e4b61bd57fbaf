/** A client for the Container Runtime Interface, of which cri.proto has the part that is used here. */
import path from "node:path";
import { Client, credentials, type ServiceDefinition } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

/** Milliseconds that a call may take. */
const CALL_TIMEOUT_MS = 50_000;

const service = loadSync(path.join(import.meta.dirname, "cri.proto"), {
  keepCase: true,
  longs: Number,
  enums: String,
  defaults: true,
})["runtime.v1.RuntimeService"] as ServiceDefinition;

/** Whose namespace a container gets (CRI's NamespaceMode). */
export type NamespaceMode = "POD" | "CONTAINER" | "NODE" | "TARGET";

export interface NamespaceOptions {
  network?: NamespaceMode;
  pid?: NamespaceMode;
  ipc?: NamespaceMode;
  target_id?: string;
}

export interface ContainerStatus {
  state: "CONTAINER_CREATED" | "CONTAINER_RUNNING" | "CONTAINER_EXITED" | "CONTAINER_UNKNOWN";
  exit_code: number;
  reason: string;
  started_at: number;
  finished_at: number;
}

export interface PodStatus {
  state: "SANDBOX_READY" | "SANDBOX_NOTREADY";
  runtime_handler: string;
  network: { ip: string } | null;
}

export interface ExecResult {
  stdout: string;
  stderr: string;
  exit_code: number;
}

/** A connection to a server of the interface. */
export class CriClient {
  private readonly client: Client;

  /** @param address path of its socket */
  constructor(address: string) {
    this.client = new Client(`unix://${address}`, credentials.createInsecure());
  }

  /** Makes one call. @throws Error with the status of a call that failed */
  call<T>(method: string, request: object): Promise<T> {
    const definition = service[method];
    if (definition === undefined) throw new Error(`cri.proto lacks ${method}`);
    const { path, requestSerialize, responseDeserialize } = definition;
    return new Promise((resolve, reject) => {
      const options = { deadline: Date.now() + CALL_TIMEOUT_MS };
      this.client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, options, (error, value) => {
        if (error === null && value !== undefined) resolve(value as T);
        else reject(new Error(`${method}: ${error?.message}`));
      });
    });
  }

  /** Waits until a server that was started again knows its pods. @throws Error after 20 seconds */
  async isReady(): Promise<void> {
    const deadline = performance.now() + 20_000;
    for (;;) {
      const reason = await this.call("ListPodSandbox", {}).then(
        () => "",
        (thrown) => String(thrown),
      );
      if (!reason.includes("not initialized")) return;
      if (performance.now() > deadline) throw new Error(reason);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  close(): void {
    this.client.close();
  }
}

/** Message of a call that must fail. bun's `rejects` is no help: it stops the connection from being read. */
export async function failure(call: Promise<unknown>): Promise<string> {
  return call.then(
    () => "",
    (thrown) => String(thrown),
  );
}
