import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  appendFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  truncate,
  utimes,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Key, type ContentHash } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { NamespaceId } from "../names.ts";
import { ManualClock } from "../test-support/manual-clock.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
import { waitFor } from "../test-support/wait-for.ts";
import type { ContentName, ValueBlobs } from "./value-blobs.ts";
import { ValueCache } from "./value-cache.ts";

let directory: string;
let stored: Map<ContentHash, Buffer>;
let fetches: ContentHash[];
let cache: ValueCache;

const blobs: ValueBlobs = {
  fetch: async ({ hash }) => {
    fetches.push(hash);
    const content = stored.get(hash);
    return content && pieces(content);
  },
  store: async (hash, file) => void stored.set(hash, await readFile(file.path)),
};

async function* pieces(content: Buffer): AsyncIterable<Uint8Array> {
  for (let start = 0; start < content.length; start += 1_000) {
    yield content.subarray(start, start + 1_000);
  }
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-values-"));
  stored = new Map();
  fetches = [];
  cache = await open();
});
afterEach(async () => {
  vi.restoreAllMocks();
  await cache.close();
  await rm(directory, { recursive: true });
});

function open(bytesMax = 10_000): Promise<ValueCache> {
  const clock = new ManualClock();
  return ValueCache.open({ directory, blobs, bytesMax, clock, log: new RecordedLog() });
}

function valueOf(content: Buffer): ContentName {
  const hash = createHash("sha256").update(content).digest("hex");
  return { hash, size: content.length };
}

/** A value that the fleet has and this node has not. */
function remoteValue(sizeBytes: number): ContentName & { content: Buffer } {
  const content = randomBytes(sizeBytes);
  const value = valueOf(content);
  stored.set(value.hash, content);
  return { ...value, content };
}

async function cachedFiles(): Promise<string[]> {
  return (await readdir(directory)).filter((name) => name !== "incoming");
}

test("ValueCache: a value is fetched once, however many read it", async () => {
  const value = remoteValue(4_000);
  const reads = await Promise.all([1, 2, 3].map(() => cache.readValue(value)));
  for (const read of reads) expect(read.equals(value.content)).toBe(true);
  expect((await cache.readValue(value)).equals(value.content)).toBe(true);
  expect(fetches).toEqual([value.hash]);
});

test.each([
  ["other content", (content: Buffer) => randomBytes(content.length)],
  ["less", (content: Buffer) => content.subarray(1)],
  ["more", (content: Buffer) => Buffer.concat([content, Buffer.alloc(1)])],
])("ValueCache: %s than the hash promises is refused and not kept", async (_what, damage) => {
  const value = remoteValue(4_000);
  stored.set(value.hash, damage(value.content));
  await expect(cache.readValue(value)).rejects.toMatchObject({
    code: "value_unavailable",
    retryable: true,
  });
  expect([await cachedFiles(), await readdir(join(directory, "incoming"))]).toEqual([[], []]);
  stored.set(value.hash, value.content);
  expect((await cache.readValue(value)).equals(value.content)).toBe(true);
});

test("ValueCache: a value that the fleet does not have is gone", async () => {
  await expect(cache.openValue(valueOf(Buffer.from("nowhere")))).rejects.toMatchObject({
    code: "value_gone",
  });
});

test("ValueCache: the least recently used value leaves first", async () => {
  const [a, b, c] = [remoteValue(4_000), remoteValue(4_000), remoteValue(4_000)];
  await cache.readValue(a);
  await cache.readValue(b);
  await cache.readValue(a);
  await cache.readValue(c);
  expect((await cachedFiles()).toSorted()).toEqual([a.hash, c.hash].toSorted());
});

test("ValueCache: a file that is being read outlives its eviction", async () => {
  const value = remoteValue(4_000);
  const file = await cache.openValue(value);
  await cache.readValue(remoteValue(9_000));
  expect(await cachedFiles()).not.toContain(value.hash);
  expect((await file.readFile()).equals(value.content)).toBe(true);
  await file.close();
});

test("ValueCache: what a node stored is there to be read without a fetch", async () => {
  const content = randomBytes(5_000);
  const value = valueOf(content);
  const path = cache.incomingPath();
  await writeFile(path, content);
  await cache.keep(value.hash, { path, sizeBytes: content.length });
  expect(stored.get(value.hash)?.equals(content)).toBe(true);
  expect((await cache.readValue(value)).equals(content)).toBe(true);
  expect([fetches, await readdir(join(directory, "incoming"))]).toEqual([[], []]);
});

test("ValueCache: what could not be stored for the fleet is not kept either", async () => {
  const failing: ValueBlobs = { ...blobs, store: () => Promise.reject(new Error("no network")) };
  const lonely = await ValueCache.open({
    directory,
    blobs: failing,
    clock: new ManualClock(),
    log: new RecordedLog(),
  });
  const path = lonely.incomingPath();
  await writeFile(path, "content");
  const { hash } = valueOf(Buffer.from("content"));
  await expect(lonely.keep(hash, { path, sizeBytes: 7 })).rejects.toMatchObject({
    code: "value_unavailable",
  });
  expect([await cachedFiles(), await readdir(join(directory, "incoming"))]).toEqual([[], []]);
  await lonely.close();
});

test("ValueCache: reopened, it has its values, holds to its bound, and no half-received files", async () => {
  const [a, b] = [remoteValue(4_000), remoteValue(4_000)];
  await cache.readValue(a);
  await cache.readValue(b);
  // Apart in time, by more than the file system's resolution.
  await utimes(join(directory, a.hash), 1, 1);
  await writeFile(cache.incomingPath(), "half");
  await cache.close();
  cache = await open(5_000);
  expect(await cachedFiles()).toHaveLength(1);
  expect(await readdir(join(directory, "incoming"))).toEqual([]);
  for (const value of [b, a]) expect(await cache.readValue(value)).toHaveLength(4_000);
  expect(fetches).toHaveLength(3);
});

test("ValueCache: a file that somebody removed is fetched again", async () => {
  const value = remoteValue(4_000);
  await cache.readValue(value);
  await rm(join(directory, value.hash));
  expect((await cache.readValue(value)).equals(value.content)).toBe(true);
  expect(fetches).toHaveLength(2);
});

const DAMAGE: ReadonlyArray<readonly [string, (path: string) => Promise<void>]> = [
  ["is cut short", (path) => truncate(path, 3_999)],
  ["has grown", (path) => appendFile(path, "x")],
  ["has another bit", flipBit],
];

async function flipBit(path: string): Promise<void> {
  const content = await readFile(path);
  content[2_000] = (content[2_000] ?? 0) ^ 1;
  await writeFile(path, content);
}

test.each(DAMAGE)("ValueCache: a file that %s is fetched again", async (_what, damage) => {
  const value = remoteValue(4_000);
  await cache.readValue(value);
  await damage(join(directory, value.hash));
  const reads = await Promise.all([1, 2, 3].map(() => cache.readValue(value)));
  for (const read of reads) expect(read.equals(value.content)).toBe(true);
  expect(fetches).toEqual([value.hash, value.hash]);
});

test.each(DAMAGE)(
  "ValueCache: a file that %s while the node was down is fetched again",
  async (_what, damage) => {
    const value = remoteValue(4_000);
    await cache.readValue(value);
    await cache.close();
    await damage(join(directory, value.hash));
    cache = await open();
    expect((await cache.readValue(value)).equals(value.content)).toBe(true);
    expect(fetches).toEqual([value.hash, value.hash]);
  },
);

test("ValueCache: a damaged file is gone even when the fleet can't replace it, and its bytes are free", async () => {
  const [value, other] = [remoteValue(5_000), remoteValue(5_500)];
  await cache.readValue(value);
  await flipBit(join(directory, value.hash));
  stored.delete(value.hash);
  await expect(cache.openValue(value)).rejects.toMatchObject({ code: "value_gone" });
  expect(await cachedFiles()).toEqual([]);
  await cache.readValue(other);
  await cache.readValue(remoteValue(1_000));
  expect(await cachedFiles()).toHaveLength(2);
});

const NAMESPACE = NamespaceId.parse("a".repeat(32));

function at(key: string, value: ContentName): ContentName {
  const { hash, size } = value;
  return { hash, size, place: { namespace: NAMESPACE, key: Key.parse(key) } };
}

test("ValueCache: a small value is fetched by its key, once, and counts as a block", async () => {
  const small = [remoteValue(200), remoteValue(300), remoteValue(400)] as const;
  for (const [index, value] of small.entries()) {
    const named = at(`k${index}`, value);
    const reads = await Promise.all([1, 2, 3].map(() => cache.readValue(named)));
    for (const read of reads) expect(read.equals(value.content)).toBe(true);
  }
  // Two blocks of 4,096 bytes are what fits.
  expect((await cachedFiles()).toSorted()).toEqual([small[1].hash, small[2].hash].toSorted());
  expect(fetches).toEqual(small.map(({ hash }) => hash));
});

test("ValueCache: a small value that is only passed on is not kept", async () => {
  const value = remoteValue(300);
  expect((await cache.passValue(at("k", value))).equals(value.content)).toBe(true);
  expect(await cachedFiles()).toEqual([]);
});

test("ValueCache: a small value under two keys is had from the one that still has it", async () => {
  const value = remoteValue(300);
  const asked: string[] = [];
  const local: ValueBlobs = {
    ...blobs,
    fetch: async ({ hash, place }) => {
      asked.push(place?.key ?? "");
      const content = stored.get(hash);
      return place?.key === "overwritten" ? undefined : content && pieces(content);
    },
  };
  const clock = new ManualClock();
  const parts = { directory, blobs: local, clock, log: new RecordedLog() };
  const other = await ValueCache.open(parts);
  const reads = await Promise.allSettled([
    other.readValue(at("overwritten", value)),
    other.readValue(at("still there", value)),
  ]);
  expect(reads).toMatchObject([{ reason: { code: "value_gone" } }, { status: "fulfilled" }]);
  expect(asked).toEqual(["overwritten", "still there"]);
  await other.close();
});

/** A cache over a fleet that answers nothing, what it was asked for, and what ends the time of each fetch. */
async function openSilent(): Promise<{
  readonly silent: ValueCache;
  readonly asked: unknown[];
  readonly timeouts: AbortController[];
}> {
  const asked: unknown[] = [];
  const timeouts: AbortController[] = [];
  vi.spyOn(AbortSignal, "timeout").mockImplementation(() => {
    const timeout = new AbortController();
    timeouts.push(timeout);
    return timeout.signal;
  });
  const fetch: ValueBlobs["fetch"] = async (content, signal) => {
    asked.push(content);
    await once(signal, "abort");
    throw signal.reason;
  };
  const [clock, log] = [new ManualClock(), new RecordedLog()];
  const parts = { directory, blobs: { ...blobs, fetch }, clock, log };
  return { silent: await ValueCache.open(parts), asked, timeouts };
}

test.each(["large", "small"])(
  "ValueCache: all who wait for a %s value that can't be reached are told at once",
  async (size) => {
    const { silent, asked, timeouts } = await openSilent();
    const value = size === "small" ? at("k", remoteValue(300)) : remoteValue(300);
    const reads = Promise.allSettled([1, 2, 3].map(() => silent.readValue(value)));
    await waitFor(() => expect(asked).toHaveLength(1));
    for (const timeout of timeouts) timeout.abort();
    const failed = { status: "rejected", reason: { code: "value_unavailable" } };
    expect(await reads).toMatchObject([failed, failed, failed]);
    expect(asked).toHaveLength(1);
    await silent.close();
  },
);

test("ValueCache: the time of a small value is counted while others are fetched before it, too", async () => {
  const { silent, asked, timeouts } = await openSilent();
  const values = Array.from({ length: LIMITS.smallValueFetchesMax + 1 }, (_, index) =>
    at(`k${index}`, remoteValue(300)),
  );
  const reads = Promise.allSettled(values.map((value) => silent.readValue(value)));
  await waitFor(() => expect(asked).toHaveLength(LIMITS.smallValueFetchesMax));
  for (const timeout of timeouts) timeout.abort();
  for (const read of await reads) {
    expect(read).toMatchObject({ status: "rejected", reason: { code: "value_unavailable" } });
  }
  expect(asked).toHaveLength(LIMITS.smallValueFetchesMax);
  await silent.close();
});

test("ValueCache: many readers of a small value that is gone ask once more, and not each", async () => {
  const value = at("k", valueOf(randomBytes(300)));
  const reads = await Promise.allSettled([1, 2, 3, 4].map(() => cache.readValue(value)));
  const gone = { status: "rejected", reason: { code: "value_gone" } };
  expect(reads).toMatchObject([gone, gone, gone, gone]);
  // The first one's look may have been at what was there before the others came.
  expect(fetches).toHaveLength(2);
});

test("ValueCache: a small value is had also where the disk does not take it", async () => {
  const value = remoteValue(300);
  await rm(join(directory, "incoming"), { recursive: true });
  expect((await cache.readValue(at("k", value))).equals(value.content)).toBe(true);
  expect((await cache.readValue(at("k", value))).equals(value.content)).toBe(true);
  expect(await cachedFiles()).toEqual([]);
  await mkdir(join(directory, "incoming"));
});
