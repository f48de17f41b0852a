import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { systemClock } from "../clock.ts";
import { Key, type KvOperation } from "../entry.ts";
import { KvError } from "../errors.ts";
import { EntryReader } from "../front/entry-reader.ts";
import { LIMITS } from "../limits.ts";
import { NamespaceId, Revision } from "../names.ts";
import { SqliteOrigin } from "../origin/sqlite-origin.ts";
import { LmdbReplica } from "../replica/lmdb-replica.ts";
import { ReplicaBudget } from "../replica/replica-budget.ts";
import { connectedChannels, type MemoryChannel } from "../test-support/memory-channel.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
import { waitFor } from "../test-support/wait-for.ts";
import type { ValueBlobs } from "../values/value-blobs.ts";
import { ValueCache } from "../values/value-cache.ts";
import { OriginServer } from "./origin-server.ts";
import { ReplicaClient } from "./replica-client.ts";

const NAMESPACE = NamespaceId.parse("a".repeat(32));
const VALUE_BYTES = 4_000;
const clock = systemClock;

let directory: string;
let log: RecordedLog;
let origin: SqliteOrigin;
let server: OriginServer;
let replica: LmdbReplica;
let client: ReplicaClient;
let values: ValueCache;
let budget: ReplicaBudget;
let channel: MemoryChannel;
/** Bytes of bodies that came over the stream. */
let streamed: number;
let fetched: string[];
/** What happens before the origin is asked for a value. */
let onFetch: () => Promise<unknown>;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-partial-"));
  log = new RecordedLog();
  origin = SqliteOrigin.open({ path: join(directory, "kv.sqlite"), clock, log });
  await origin.createNamespace(NAMESPACE);
  const blobs = { has: async () => true, remove: async () => {} };
  server = new OriginServer({ origin, blobs, clock, log });
  streamed = 0;
  fetched = [];
  onFetch = async () => {};
  await openNode(1);
});
afterEach(async () => {
  await closeNode();
  server.close();
  await origin.close();
  await rm(directory, { recursive: true });
});

const valueBlobs: ValueBlobs = {
  fetch: async ({ hash, place }) => {
    if (place === undefined) return undefined;
    fetched.push(place.key);
    await onFetch();
    const value = (await origin.get(place.namespace, place.key))?.value;
    const bytes = value?.kind === "inline" ? value.bytes : Buffer.alloc(0);
    if (createHash("sha256").update(bytes).digest("hex") === hash) return pieces(bytes);
    const { revision: found } = await origin.point(place.namespace);
    throw new KvError("value_gone", "it was replaced", { found });
  },
  store: () => Promise.reject(new Error("nothing is stored here")),
};

async function* pieces(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes;
}

async function openNode(bytesMax: number): Promise<void> {
  replica = await LmdbReplica.open({ directory: join(directory, "replica"), clock, log });
  client = new ReplicaClient({ replica, clock, log });
  const place = join(directory, "values");
  values = await ValueCache.open({ directory: place, blobs: valueBlobs, clock, log });
  await setBudget(bytesMax);
  client.setInterest([NAMESPACE]);
}

async function setBudget(bytesMax: number): Promise<void> {
  const onChange = (namespace: NamespaceId): void => client.extentChanged(namespace);
  budget = new ReplicaBudget({ replica, values, bytesMax, onChange, clock, log });
  await budget.settle();
}

async function closeNode(): Promise<void> {
  await client.close();
  await values.close();
  await budget.close();
  await replica.close();
}

function connect(): void {
  const channels = connectedChannels();
  channel = channels.node;
  channel.onArrival = (message) => {
    const { body } = message as { readonly body?: Uint8Array };
    streamed += body?.length ?? 0;
  };
  server.accept(channels.origin);
  client.attach(channels.node);
}

function put(key: string, bytes: Uint8Array = randomBytes(VALUE_BYTES)): KvOperation {
  return { kind: "put", key: Key.parse(key), value: { kind: "inline", bytes } };
}

const keys = (count: number): string[] =>
  Array.from({ length: count }, (_, index) => `k${String(index).padStart(5, "0")}`);

async function read(...wanted: string[]): Promise<ReadonlyArray<string | undefined>> {
  const reader = new EntryReader({
    replica,
    passed: async (namespace, revision) => {
      await client.readable(namespace, { minRevision: Revision.parse(revision + 1) });
    },
  });
  const parsed = wanted.map((key) => Key.parse(key));
  const { entries, contents } = await reader.read(
    { namespace: NAMESPACE, keys: parsed },
    { open: (content) => values.readValue(content), close: async () => {} },
  );
  return entries.map((entry) => {
    if (entry === undefined) return undefined;
    const { key, value } = entry;
    const bytes = value.kind === "inline" ? Buffer.from(value.bytes) : contents.get(key);
    return bytes?.toString("hex");
  });
}

async function atOrigin(key: string): Promise<string | undefined> {
  const value = (await origin.get(NAMESPACE, key))?.value;
  return value?.kind === "inline" ? Buffer.from(value.bytes).toString("hex") : undefined;
}

async function caughtUp(): Promise<void> {
  await waitFor(async () => {
    expect(replica.point(NAMESPACE)).toEqual(await origin.point(NAMESPACE));
  });
}

/** Fills the namespace and lets the node become partial, all of it on the node. */
async function becomePartial(count: number): Promise<void> {
  await origin.write(
    NAMESPACE,
    keys(count).map((key) => put(key)),
  );
  connect();
  await caughtUp();
  await budget.settle();
  expect(replica.extent(NAMESPACE)).toMatchObject({ isPartial: true, removableBytes: 0 });
}

test("partial namespace: past the budget values leave, lists go on whole, and reads fetch", async () => {
  await becomePartial(20);
  const { entries } = replica.list(NAMESPACE, { prefix: "", limit: 100 });
  expect(entries.map(({ key }) => key)).toEqual(keys(20));
  expect(client.status()).toMatchObject([{ extent: "partial", revision: 20 }]);
  expect(await read("k00003", "k00004", "none")).toEqual([
    await atOrigin("k00003"),
    await atOrigin("k00004"),
    undefined,
  ]);
  await read("k00003");
  expect(fetched.toSorted()).toEqual(["k00003", "k00004"]);
});

test("partial namespace: a snapshot that outgrows the budget goes on without values", async () => {
  const count = 3_000;
  await origin.write(
    NAMESPACE,
    keys(count).map((key) => put(key)),
  );
  connect();
  // The budget is looked at while it comes, as it is each second.
  const stop = setInterval(() => void budget.settle(), 5);
  await caughtUp();
  clearInterval(stop);
  await budget.settle();
  expect(replica.list(NAMESPACE, { prefix: "", limit: 1_000 }).entries).toHaveLength(1_000);
  expect(streamed).toBeLessThan((count * VALUE_BYTES) / 2);
  expect(replica.extent(NAMESPACE)).toMatchObject({ isPartial: true, removableBytes: 0 });
  expect(await read("k02999")).toEqual([await atOrigin("k02999")]);
});

test("partial namespace: a value that is overwritten while it is fetched is not shown", async () => {
  await becomePartial(3);
  const next = put("k00001");
  onFetch = async () => {
    onFetch = async () => {};
    await client.write(NAMESPACE, [next]);
  };
  const shown = await read("k00001");
  expect(shown).toEqual([await atOrigin("k00001")]);
});

test("partial namespace: a write is read where it was made, before and after its value is fetched", async () => {
  await becomePartial(3);
  const value = randomBytes(VALUE_BYTES);
  await client.write(NAMESPACE, [put("k00002", value)]);
  for (let round = 0; round < 2; round += 1) {
    expect(await read("k00002")).toEqual([value.toString("hex")]);
  }
});

test("partial namespace: a value that the origin has replaced is waited for, and never absent", async () => {
  await becomePartial(3);
  channel.isSilent = true;
  await origin.write(NAMESPACE, [put("k00000")]);
  const reading = read("k00000");
  await waitFor(() => expect(fetched).toEqual(["k00000"]));
  connect();
  expect(await reading).toEqual([await atOrigin("k00000")]);
});

test("partial namespace: a value that was replaced is waited for while others are written", async () => {
  await becomePartial(3);
  // Held back at this end of the link, in order.
  const late: unknown[] = [];
  const deliver = channel.deliver.bind(channel);
  channel.deliver = (message) => void late.push(message);
  for (let count = 0; count < 3 * LIMITS.valueReadsMax; count += 1) {
    await origin.write(NAMESPACE, [put("other")]);
  }
  await origin.write(NAMESPACE, [put("k00000")]);
  const reading = read("k00000");
  await waitFor(() => expect(fetched).toEqual(["k00000"]));
  channel.deliver = deliver;
  for (const message of late) deliver(message);
  expect(await reading).toEqual([await atOrigin("k00000")]);
  // Looked for again once what replaced it was here, and not at each of the others.
  expect(fetched).toEqual(["k00000", "k00000"]);
});

test("partial namespace: a value whose successor does not come is a retryable error, in its time", async () => {
  await becomePartial(3);
  channel.close();
  await origin.write(NAMESPACE, [put("k00000"), { kind: "delete", key: Key.parse("k00001") }]);
  const startMs = Date.now();
  for (const key of ["k00000", "k00001"]) {
    await expect(read(key)).rejects.toMatchObject({ code: "replica_behind", retryable: true });
  }
  expect(Date.now() - startMs).toBeLessThan(2 * (LIMITS.freshReadMs + 1_000));
});

test("partial namespace: with the control plane away, what was fetched is read, and all else retryable", async () => {
  await becomePartial(3);
  await read("k00001");
  channel.close();
  onFetch = () => Promise.reject(new Error("no network"));
  expect(await read("k00001")).toEqual([await atOrigin("k00001")]);
  await expect(read("k00002")).rejects.toMatchObject({
    code: "value_unavailable",
    retryable: true,
  });
  expect(await read("none")).toEqual([undefined]);
  expect(replica.list(NAMESPACE, { prefix: "", limit: 100 }).entries).toHaveLength(3);
});

test("partial namespace: becomes whole again without a snapshot once there is room", async () => {
  const count = 2 * LIMITS.replicaFillRowsMax + 3;
  await becomePartial(count);
  await budget.close();
  const before = streamed;
  await setBudget(100 * 1024 * 1024);
  expect(client.status()).toMatchObject([{ extent: "whole" }]);
  expect(fetched).toHaveLength(count);
  expect(streamed).toBe(before);
  onFetch = () => Promise.reject(new Error("nothing more is fetched"));
  for (const key of keys(count)) expect(await read(key)).toEqual([await atOrigin(key)]);
});

test("partial namespace: what can't be fetched now is filled later, and what was written meanwhile is whole", async () => {
  await becomePartial(4);
  await budget.close();
  onFetch = () => Promise.reject(new Error("no network"));
  await setBudget(100 * 1024 * 1024);
  expect(client.status()).toMatchObject([{ extent: "filling" }]);
  await client.write(NAMESPACE, [put("k00001")]);
  expect(replica.get(NAMESPACE, "k00001")?.value.kind).toBe("inline");
  await budget.close();
  onFetch = async () => {};
  await setBudget(100 * 1024 * 1024);
  expect(client.status()).toMatchObject([{ extent: "whole" }]);
  for (const key of keys(4)) expect(await read(key)).toEqual([await atOrigin(key)]);
});

test("partial namespace: stays so in the next life of the node, and catches up without values", async () => {
  await becomePartial(3);
  await closeNode();
  await origin.write(NAMESPACE, [put("k00001"), put("new")]);
  await openNode(1);
  connect();
  await caughtUp();
  expect(replica.extent(NAMESPACE)).toMatchObject({ isPartial: true, removableBytes: 0 });
  expect(await read("k00001", "new")).toEqual([await atOrigin("k00001"), await atOrigin("new")]);
});
