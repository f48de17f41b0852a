import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { KvStatus } from "@atoll/control-plane/contract";
import {
  KvFront,
  LmdbReplica,
  ReplicaBudget,
  ReplicaClient,
  ValueCache,
  type Channel,
  type Clock,
  type KvFrontOptions,
  type NamespaceId,
  type ValueBlobs,
} from "@atoll/kv-store";
import type { Logger } from "pino";
import { LIMITS } from "../limits.ts";
import { defaultKvBudget } from "./kv-budget.ts";

export interface NodeKvOptions {
  readonly directory: string;
  /** What all of it may take of the disk; by default a part of it. */
  readonly budgetBytes?: number | undefined;
  /** Where cells find the store. */
  readonly socketPath: string;
  readonly blobs: ValueBlobs;
  readonly resolveCapability: KvFrontOptions["resolveCapability"];
  readonly onUse: NonNullable<KvFrontOptions["onUse"]>;
  readonly usedUp: NonNullable<KvFrontOptions["usedUp"]>;
  /** As `LmdbReplicaOptions` has it. */
  readonly onGivenUp: (error: Error) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

/** A node's key-value store: the replica on its disk, what keeps it current, and the server for cells. */
export class NodeKv {
  readonly #replica: LmdbReplica;
  readonly #values: ValueCache;
  readonly #client: ReplicaClient;
  readonly #budget: ReplicaBudget;
  readonly #front: KvFront;
  readonly #log: Logger;

  private constructor(parts: {
    readonly replica: LmdbReplica;
    readonly values: ValueCache;
    readonly client: ReplicaClient;
    readonly budget: ReplicaBudget;
    readonly front: KvFront;
    readonly log: Logger;
  }) {
    this.#replica = parts.replica;
    this.#values = parts.values;
    this.#client = parts.client;
    this.#budget = parts.budget;
    this.#front = parts.front;
    this.#log = parts.log;
  }

  /** Serves reads from what is on disk as soon as this resolves. */
  static async open(options: NodeKvOptions): Promise<NodeKv> {
    const { directory, clock, log, onGivenUp } = options;
    await mkdir(directory, { recursive: true });
    const budgetBytes = options.budgetBytes ?? (await defaultKvBudget(directory));
    const cacheBytesMax = Math.floor(budgetBytes * LIMITS.kvCacheShare);
    const replica = await LmdbReplica.open({
      directory: join(directory, "replica"),
      ...{ clock, log, onGivenUp },
    });
    const values = await ValueCache.open({
      directory: join(directory, "values"),
      blobs: options.blobs,
      bytesMax: cacheBytesMax,
      clock,
      log,
    });
    const client = new ReplicaClient({ replica, clock, log });
    const budget = new ReplicaBudget({
      ...{ replica, values, clock, log },
      bytesMax: budgetBytes - cacheBytesMax,
      onChange: (namespace) => client.extentChanged(namespace),
    });
    const front = new KvFront({ ...options, replica, client, values });
    await front.listen();
    return new NodeKv({ replica, values, client, budget, front, log });
  }

  /** Uses a new connection to the origin from now on. */
  attach(channel: Channel): void {
    this.#client.attach(channel);
  }

  /**
   * Holds exactly these namespaces, and resolves when each of them is here or can't be: a worker whose
   * data has not arrived must not serve yet, but one namespace must not hold back a deploy for ever.
   */
  async hold(namespaces: ReadonlyArray<NamespaceId>): Promise<void> {
    const wanted = new Set(namespaces);
    this.#client.setInterest(wanted);
    const missing = [...wanted].filter((each) => this.#replica.revision(each) === undefined);
    const arrivals = await Promise.allSettled(missing.map((each) => this.#client.ready(each)));
    for (const [index, arrival] of arrivals.entries()) {
      if (arrival.status === "fulfilled") continue;
      const namespace = missing[index];
      this.#log.warn({ namespace, err: arrival.reason }, "a namespace has not arrived yet");
    }
  }

  status(): ReadonlyArray<KvStatus> {
    return this.#client.status().map((status) => ({ ...status }));
  }

  /** May be called twice. */
  async close(): Promise<void> {
    await this.#front.close();
    await this.#client.close();
    await this.#values.close();
    await this.#budget.close();
    await this.#replica.close();
  }
}
