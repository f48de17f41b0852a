import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import {
  decodeMessage,
  encodeMessage,
  LinkChannel,
  MessageFromNode,
} from "@atoll/control-plane/contract";
import { OriginServer, systemClock, type KvOrigin } from "@atoll/kv-store";
import { WebSocketServer } from "ws";
import { runtimeArguments } from "../../cli/bin/runtime-arguments.mjs";
import { hold } from "./benchmark.ts";
import { log } from "./kv-place.ts";

export interface ReplicaPlan {
  /** Where the replicas' directories are made. */
  readonly directory: string;
  readonly url: string;
  readonly replicas: number;
  /** Where the first of them is served to workers with this capability, if it is. */
  readonly front?: { readonly socketPath: string; readonly capability: string };
}

export type Question =
  /** When reads saw each batch, of each replica, in their order. */
  | { readonly kind: "visible" }
  /** How long each listing took, in milliseconds. */
  | { readonly kind: "list"; readonly prefixes: ReadonlyArray<string>; readonly limit: number }
  /** How many of these keys there are. */
  | { readonly kind: "read"; readonly names: ReadonlyArray<string> };

export interface Visible {
  /** The last one of the batch. */
  readonly revision: number;
  /** By the machine's monotonic clock, which all its processes share. */
  readonly atNs: bigint;
}

const PROCESS = new URL("./replica-process.ts", import.meta.url);
const READY_MS_MAX = 300_000;
const MEMORY_LOOK_MS = 50;
const KIB_OF_MB = 1_024;
// What Node has for work off its main thread. LMDB's commits are such: replicas that share a process would else
// wait for each other, which nodes don't.
const NODE_THREADS = 4;

/** Serves an origin's stream over WebSockets, encoded as on the fleet's link; answers its address. */
export async function serveOrigin(
  resources: AsyncDisposableStack,
  origin: KvOrigin,
): Promise<string> {
  const blobs = { has: async () => true, remove: async () => {} };
  const server = new OriginServer({ origin, blobs, clock: systemClock, log });
  const sockets = new WebSocketServer({ host: "127.0.0.1", port: 0 });
  sockets.on("connection", (socket) => {
    const channel = new LinkChannel({
      sendKv: (message) => socket.send(encodeMessage({ kind: "kv", message })),
      end: () => socket.close(),
    });
    socket.on("message", (bytes: Buffer) => {
      const message = decodeMessage(MessageFromNode, bytes);
      if (message.kind === "kv") channel.receive(message.message);
    });
    socket.on("close", () => channel.linkEnded());
    server.accept(channel);
  });
  await once(sockets, "listening");
  resources.defer(() => {
    server.close();
    for (const client of sockets.clients) client.terminate();
    sockets.close();
  });
  return `ws://127.0.0.1:${(sockets.address() as AddressInfo).port}`; // of a TCP server that listens
}

/** Replicas in a process of their own, as nodes have them. */
export class ReplicaProcess {
  readonly #child: ChildProcess;
  readonly #memory: NodeJS.Timeout;
  #peakMb = 0;

  /** Resolves when every replica holds the namespace. The process ends with `resources`. */
  static start(resources: AsyncDisposableStack, plan: ReplicaPlan): Promise<ReplicaProcess> {
    return hold(
      resources,
      async () => {
        const started = new ReplicaProcess(plan);
        await started.#next(READY_MS_MAX);
        return started;
      },
      (started) => started.#stop(),
    );
  }

  private constructor(plan: ReplicaPlan) {
    const threads = String(NODE_THREADS * plan.replicas);
    const env = { ...process.env, UV_THREADPOOL_SIZE: threads };
    const execArgv = [...process.execArgv, ...runtimeArguments("node")];
    this.#child = fork(PROCESS, [JSON.stringify(plan)], {
      serialization: "advanced",
      ...{ env, execArgv },
    });
    this.#memory = setInterval(() => void this.#lookAtMemory(), MEMORY_LOOK_MS);
  }

  /** The most private memory that it had; pages of its replica's file are the kernel's. */
  get peakMb(): number {
    return this.#peakMb;
  }

  /** What it has now: its own memory, and pages of its replica's file that are mapped beside that. */
  async memory(): Promise<{ readonly privateMb: number; readonly fileMb: number }> {
    const status = await readFile(`/proc/${this.#child.pid}/status`, "utf8");
    const field = (name: string): number =>
      Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1] ?? Number.NaN) /
      KIB_OF_MB;
    return { privateMb: field("RssAnon"), fileMb: field("RssFile") + field("RssShmem") };
  }

  /** One question at a time. */
  ask(question: Question & { kind: "visible" }): Promise<ReadonlyArray<ReadonlyArray<Visible>>>;
  ask(question: Question & { kind: "list" }): Promise<ReadonlyArray<number>>;
  ask(question: Question & { kind: "read" }): Promise<number>;
  ask(question: Question): Promise<unknown> {
    this.#child.send(question);
    return this.#next(READY_MS_MAX);
  }

  async #next(msMax: number): Promise<unknown> {
    const ended = new AbortController();
    const onExit = (): void => ended.abort(new Error("the process of the replicas ended"));
    this.#child.once("exit", onExit);
    try {
      const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(msMax)]);
      const [message] = (await once(this.#child, "message", { signal })) as [unknown];
      return message;
    } finally {
      this.#child.off("exit", onExit);
    }
  }

  async #lookAtMemory(): Promise<void> {
    // A process that ended has none.
    const { privateMb } = await this.memory().catch(() => ({ privateMb: 0 }));
    this.#peakMb = Math.max(this.#peakMb, privateMb);
  }

  async #stop(): Promise<void> {
    clearInterval(this.#memory);
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exited;
  }
}
