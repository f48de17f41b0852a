// The process behind `ReplicaProcess`: a node's replicas, each with a connection to the origin of its own. It
// says `ready` when all of them hold the namespace, and answers each question with one message.
import { join } from "node:path";
import {
  decodeMessage,
  encodeMessage,
  LinkChannel,
  MessageToNode,
} from "@atoll/control-plane/contract";
import { KvFront, LmdbReplica, ReplicaClient, systemClock, ValueCache } from "@atoll/kv-store";
import { WebSocket } from "ws";
import { log, NAMESPACE } from "./kv-place.ts";
import type { Question, ReplicaPlan, Visible } from "./replica-processes.ts";

const plan = JSON.parse(process.argv[2] ?? "") as ReplicaPlan; // written by `ReplicaProcess`
const visible: Visible[][] = [];
const replicas = await Promise.all(
  Array.from({ length: plan.replicas }, (_, index) => open(index)),
);
process.send?.("ready");

async function open(index: number): Promise<LmdbReplica> {
  const directory = join(plan.directory, String(index));
  const replica = await LmdbReplica.open({ directory, clock: systemClock, log });
  tellWhenVisible(replica);
  const client = new ReplicaClient({ replica, clock: systemClock, log });
  client.setInterest([NAMESPACE]);
  connect(client);
  // Longer than a read waits for a namespace: a large one takes its time.
  while (replica.revision(NAMESPACE) === undefined) {
    await client.ready(NAMESPACE).catch(() => undefined);
  }
  if (index === 0) await serve(replica, client);
  return replica;
}

/** As a node does. */
async function serve(replica: LmdbReplica, client: ReplicaClient): Promise<void> {
  const { directory, front } = plan;
  if (front === undefined) return;
  const values = await ValueCache.open({
    directory: join(directory, "values"),
    // The benchmarks that read through the front have small values only.
    blobs: { fetch: async () => undefined, store: () => Promise.reject(new Error("too large")) },
    ...{ clock: systemClock, log },
  });
  const { socketPath, capability } = front;
  const resolveCapability = (text: string) => (text === capability ? NAMESPACE : undefined);
  await new KvFront({
    ...{ socketPath, resolveCapability, replica, client, values },
    ...{ clock: systemClock, log },
  }).listen();
}

function connect(client: ReplicaClient): void {
  const socket = new WebSocket(plan.url);
  const channel = new LinkChannel({
    sendKv: (message) => socket.send(encodeMessage({ kind: "kv", message })),
    end: () => socket.close(),
  });
  socket.on("open", () => client.attach(channel));
  socket.on("message", (bytes: Buffer) => {
    const message = decodeMessage(MessageToNode, bytes);
    if (message.kind === "kv") channel.receive(message.message);
  });
  socket.on("close", () => channel.linkEnded());
}

/** Notes when reads see each revision. */
function tellWhenVisible(replica: LmdbReplica): void {
  const store = replica.store.bind(replica);
  const seen: Visible[] = [];
  visible.push(seen);
  replica.store = async (namespace, action, options) => {
    await store(namespace, action, options);
    if (action.kind !== "batch") return;
    seen.push({ revision: action.revision, atNs: process.hrtime.bigint() });
  };
}

function listTimes({ prefixes, limit }: Question & { kind: "list" }): ReadonlyArray<number> {
  const [replica] = replicas;
  return prefixes.map((prefix) => {
    const startedAt = performance.now();
    const { entries } = replica?.list(NAMESPACE, { prefix, limit }) ?? { entries: [] };
    const ms = performance.now() - startedAt;
    if (entries.length !== limit) throw new Error(`${prefix} has ${entries.length} keys`);
    return ms;
  });
}

function readAll(names: ReadonlyArray<string>): number {
  const [replica] = replicas;
  return names.filter((name) => replica?.get(NAMESPACE, name) !== undefined).length;
}

process.on("message", (question: Question) => {
  switch (question.kind) {
    case "visible":
      return process.send?.(visible);
    case "list":
      return process.send?.(listTimes(question));
    case "read":
      return process.send?.(readAll(question.names));
  }
});
process.on("disconnect", () => process.exit());
