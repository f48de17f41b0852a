import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { systemClock } from "../clock.ts";
import { Key, type HeldEntry, type KvOperation } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { NamespaceId } from "../names.ts";
import { SqliteOrigin } from "../origin/sqlite-origin.ts";
import { LmdbReplica } from "../replica/lmdb-replica.ts";
import { HurriedClock } from "../test-support/hurried-clock.ts";
import { connectedChannels, type MemoryChannel } from "../test-support/memory-channel.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
import { waitFor } from "../test-support/wait-for.ts";
import { OriginServer } from "./origin-server.ts";
import { ReplicaClient } from "./replica-client.ts";

const NAMESPACE = NamespaceId.parse("a".repeat(32));
const KEYS = ["a", "ab", "b/1", "b/2", "é", "\ufffd", "\u{10000}"].map((key) => Key.parse(key));
const clock = systemClock;

type Step =
  | { readonly kind: "node-write"; readonly operations: ReadonlyArray<KvOperation> }
  | { readonly kind: "origin-write"; readonly operations: ReadonlyArray<KvOperation> }
  | { readonly kind: "reconnect" }
  | { readonly kind: "disconnected-write"; readonly operations: ReadonlyArray<KvOperation> }
  | { readonly kind: "restart-node" }
  | { readonly kind: "restart-origin" }
  | { readonly kind: "outgrow-log" };

const operations = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constant("delete" as const), key: fc.constantFrom(...KEYS) }),
    fc.record({
      kind: fc.constant("put" as const),
      key: fc.constantFrom(...KEYS),
      value: fc.uint8Array({ maxLength: 20 }).map((bytes) => ({ kind: "inline", bytes }) as const),
      metadata: fc.json({ maxDepth: 1 }).filter((json) => json.length <= LIMITS.metadataBytesMax),
    }),
  ),
  { minLength: 1, maxLength: 5 },
);
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constantFrom("node-write", "origin-write", "disconnected-write" as const),
        operations,
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constantFrom("reconnect", "restart-node", "restart-origin" as const),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("outgrow-log" as const) }) },
  ),
  { maxLength: 12 },
);

/** One origin and one node of real parts, and a map that says what both should hold. */
class World {
  readonly model = new Map<string, string>();
  readonly #directory: string;
  readonly #log = new RecordedLog();
  readonly #originClock = new HurriedClock();
  #revision = 0;
  #origin!: SqliteOrigin; // set by `create`
  #server!: OriginServer;
  #replica!: LmdbReplica;
  #client!: ReplicaClient;
  #channel: MemoryChannel | undefined;

  static async create(): Promise<World> {
    const world = new World(await mkdtemp(join(tmpdir(), "atoll-model-")));
    await world.#startOrigin();
    await world.#origin.createNamespace(NAMESPACE);
    await world.#startNode();
    await world.#connect();
    return world;
  }

  private constructor(directory: string) {
    this.#directory = directory;
  }

  async take(step: Step): Promise<void> {
    switch (step.kind) {
      case "node-write":
        this.#apply(step.operations);
        expect(await this.#client.write(NAMESPACE, step.operations)).toBe(this.#revision);
        return this.#compare();
      case "origin-write":
        this.#apply(step.operations);
        await this.#origin.write(NAMESPACE, step.operations);
        return;
      case "disconnected-write":
        this.#channel?.close();
        await expect(this.#client.write(NAMESPACE, step.operations)).rejects.toMatchObject({
          code: "origin_unreachable",
        });
        return this.#connect();
      case "reconnect":
        return this.#connect();
      case "restart-node":
        await this.#stopNode();
        await this.#startNode();
        return this.#connect();
      case "restart-origin":
        await this.#stopOrigin();
        await this.#startOrigin();
        return this.#connect();
      case "outgrow-log":
        return this.#outgrowLog();
    }
  }

  /** Replica and origin come to be equal to the map. */
  async settle(): Promise<void> {
    await waitFor(() => expect(this.#replica.revision(NAMESPACE)).toBe(this.#revision));
    await this.#compare();
    expect(this.#log.lines.filter((line) => line.startsWith("error"))).toEqual([]);
  }

  async dispose(): Promise<void> {
    await this.#stopNode();
    await this.#stopOrigin();
    await rm(this.#directory, { recursive: true });
  }

  #apply(written: ReadonlyArray<KvOperation>): void {
    for (const operation of written) {
      this.#revision += 1;
      if (operation.kind === "delete") this.model.delete(operation.key);
      else this.model.set(operation.key, textOf(operation));
    }
  }

  async #compare(): Promise<void> {
    const expected = KEYS.flatMap((key) => {
      const text = this.model.get(key);
      return text === undefined ? [] : [[key, text]];
    });
    const held = KEYS.flatMap((key) => {
      const entry = this.#replica.get(NAMESPACE, key);
      return entry === undefined ? [] : [[key, textOf(entry)]];
    });
    const ordered = KEYS.map(String).filter((key) => this.model.has(key));
    const options = { prefix: "", limit: LIMITS.listKeysMax };
    expect(held).toEqual(expected);
    expect(this.#replica.list(NAMESPACE, options).entries.map(({ key }) => key)).toEqual(ordered);
    const { entries } = await this.#origin.list(NAMESPACE, options);
    expect(entries.map(({ key }) => key)).toEqual(ordered);
  }

  /** The node is away until the log no longer reaches back to it. */
  async #outgrowLog(): Promise<void> {
    this.#channel?.close();
    this.#originClock.skip(LIMITS.logHoldMs);
    const key = Key.parse("filler");
    const batch = Array.from({ length: 5_500 }, () => ({ kind: "delete", key }) as const);
    for (let round = 0; round < 2; round += 1) {
      this.#apply(batch);
      await this.#origin.write(NAMESPACE, batch);
    }
    await this.#connect();
  }

  async #connect(): Promise<void> {
    const { node, origin } = connectedChannels();
    this.#channel = node;
    this.#server.accept(origin);
    this.#client.attach(node);
    await this.#client.ready(NAMESPACE);
  }

  async #startOrigin(): Promise<void> {
    const path = join(this.#directory, "kv.sqlite");
    const log = this.#log;
    this.#origin = SqliteOrigin.open({ path, clock: this.#originClock, log });
    const blobs = { has: async () => true, remove: async () => {} };
    this.#server = new OriginServer({ origin: this.#origin, blobs, clock, log });
  }

  async #stopOrigin(): Promise<void> {
    this.#server.close();
    await this.#origin.close();
  }

  async #startNode(): Promise<void> {
    const directory = join(this.#directory, "replica");
    const log = this.#log;
    this.#replica = await LmdbReplica.open({ directory, clock, log });
    this.#client = new ReplicaClient({ replica: this.#replica, clock, log });
    this.#client.setInterest([NAMESPACE]);
  }

  async #stopNode(): Promise<void> {
    await this.#client.close();
    await this.#replica.close();
  }
}

function textOf(entry: Pick<HeldEntry, "value" | "metadata">): string {
  const value = entry.value.kind === "inline" ? Buffer.from(entry.value.bytes) : Buffer.alloc(0);
  return `${value.toString("hex")} ${entry.metadata}`;
}

test("replication: any sequence of writes, restarts and cuts leaves replica, origin and model equal", async () => {
  await fc.assert(
    fc.asyncProperty(steps, async (taken) => {
      const world = await World.create();
      try {
        for (const step of taken) await world.take(step);
        await world.settle();
      } finally {
        await world.dispose();
      }
    }),
    // Each run opens real files, and outgrows a log or two: enough to meet every pair of steps over a few days of commits.
    { numRuns: 25, endOnFailure: true },
  );
}, 120_000);
