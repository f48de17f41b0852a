import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../clock.ts";
import { Key, type KvOperation } from "../entry.ts";
import { NamespaceId, Revision } from "../names.ts";
import { SqliteOrigin } from "../origin/sqlite-origin.ts";
import { LmdbReplica } from "../replica/lmdb-replica.ts";
import { OriginServer } from "../replication/origin-server.ts";
import { ReplicaClient } from "../replication/replica-client.ts";
import { HurriedClock } from "./hurried-clock.ts";
import { connectedChannels } from "./memory-channel.ts";
import { RecordedLog } from "./recorded-log.ts";

export const NAMESPACE = NamespaceId.parse("a".repeat(32));
/** The one large value that the blob store has. */
export const STORED_HASH = "5".repeat(64);

export interface Node {
  readonly replica: LmdbReplica;
  readonly client: ReplicaClient;
}

/** An origin and nodes that follow it, over real files, in one process. */
export class ReplicatedStore {
  readonly directory: string;
  readonly log = new RecordedLog();
  readonly originClock = new HurriedClock();
  readonly nodeClock = new HurriedClock();
  origin!: SqliteOrigin; // set by `startOrigin`
  server!: OriginServer; // set by `startOrigin`
  readonly #closers: Array<() => Promise<void>> = [];

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async open(): Promise<ReplicatedStore> {
    const store = new ReplicatedStore(await mkdtemp(join(tmpdir(), "atoll-replication-")));
    store.startOrigin();
    await store.origin.createNamespace(NAMESPACE);
    return store;
  }

  async close(): Promise<void> {
    await this.stopNodes();
    await this.stopOrigin();
    await rm(this.directory, { recursive: true });
  }

  startOrigin(): void {
    const { directory, originClock: clock, log } = this;
    this.origin = SqliteOrigin.open({ path: join(directory, "kv.sqlite"), clock, log });
    const blobs = { has: async (hash: string) => hash === STORED_HASH, remove: async () => {} };
    this.server = new OriginServer({ origin: this.origin, blobs, clock: systemClock, log });
  }

  async stopOrigin(): Promise<void> {
    this.server.close();
    await this.origin.close();
  }

  async startNode(name: string, wanted = [NAMESPACE]): Promise<Node> {
    const { log } = this;
    const directory = join(this.directory, name);
    const replica = await LmdbReplica.open({ directory, clock: systemClock, log });
    const client = new ReplicaClient({ replica, clock: this.nodeClock, log });
    this.#closers.push(
      () => replica.close(),
      () => client.close(),
    );
    client.setInterest(wanted);
    return { replica, client };
  }

  async startConnectedNode(name: string): Promise<Node> {
    const node = await this.startNode(name);
    this.connect(node);
    await node.client.ready(NAMESPACE);
    return node;
  }

  async stopNodes(): Promise<void> {
    for (const close of this.#closers.splice(0).toReversed()) await close();
  }

  connect({ client }: Node): ReturnType<typeof connectedChannels> {
    const channels = connectedChannels();
    this.server.accept(channels.origin);
    client.attach(channels.node);
    return channels;
  }
}

export function putText(key: string, text: string): KvOperation {
  const value = { kind: "inline", bytes: Buffer.from(text) } as const;
  return { kind: "put", key: Key.parse(key), value };
}

export function textOf({ replica }: Node, key: string): string | undefined {
  const value = replica.get(NAMESPACE, key)?.value;
  return value?.kind === "inline" ? Buffer.from(value.bytes).toString() : undefined;
}

/** Puts the key if it is at this revision. */
export function writeIf(
  { client }: Node,
  key: string,
  revision: number,
  text: string,
): Promise<Revision> {
  const condition = { key: Key.parse(key), revision: Revision.parse(revision) };
  return client.write(NAMESPACE, [putText(key, text)], [condition]);
}
