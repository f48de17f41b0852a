import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import {
  Key,
  LmdbReplica,
  NamespaceId,
  OriginServer,
  ReplicaClient,
  SqliteOrigin,
  systemClock,
  ValueCache,
  type KvOperation,
  type Log,
} from "@atoll/kv-store";
import { afterEach, beforeEach, expect, test } from "vitest";
import { channelPair } from "../support/channel-pair.ts";

const NAMESPACE = NamespaceId.parse("d".repeat(32));
const clock = systemClock;
const run = promisify(execFile);
const DISK_MB = 16;

let directory: string;
let disk: string;
let lines: string[];
let log: Log;
let origin: SqliteOrigin;
let server: OriginServer;
let replica: LmdbReplica;
let client: ReplicaClient;
/** How often the node has asked the origin for the namespace. */
let asks: number;

/** Whether this machine lets a test have a disk of its own. */
async function canMount(): Promise<boolean> {
  const probe = await mkdtemp(join(tmpdir(), "atoll-mount-"));
  try {
    await run("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", probe]);
    await run("umount", [probe]);
    return true;
  } catch {
    return false;
  } finally {
    await rm(probe, { recursive: true });
  }
}

const isPossible = await canMount();

beforeEach(async () => {
  if (!isPossible) return;
  directory = await mkdtemp(join(tmpdir(), "atoll-disk-"));
  disk = join(directory, "disk");
  await mkdir(disk);
  await run("mount", ["-t", "tmpfs", "-o", `size=${DISK_MB}m`, "tmpfs", disk]);
  lines = [];
  const note = (fields: object, message: string): void => {
    lines.push("err" in fields ? `${message}: ${String(fields.err)}` : message);
  };
  log = { info: () => {}, warn: note, error: note };
  origin = SqliteOrigin.open({ path: join(directory, "kv.sqlite"), clock, log });
  await origin.createNamespace(NAMESPACE);
  const blobs = { has: async () => true, remove: async () => {} };
  server = new OriginServer({ origin, blobs, clock, log });
  await startNode();
});
afterEach(async () => {
  if (!isPossible) return;
  await stopNode();
  server.close();
  await origin.close();
  await run("umount", [disk]);
  await rm(directory, { recursive: true });
});

async function startNode(): Promise<void> {
  replica = await LmdbReplica.open({ directory: join(disk, "replica"), clock, log });
  client = new ReplicaClient({ replica, clock, log });
  client.setInterest([NAMESPACE]);
  const { origin: end, node } = channelPair();
  server.accept(end);
  asks = 0;
  client.attach({
    send: (message) => {
      if ((message as { readonly kind: string }).kind === "subscribe") asks += 1;
      node.send(message);
    },
    onMessage: (listener) => node.onMessage(listener),
    onClose: (listener) => node.onClose(listener),
    close: (reason) => node.close(reason),
  });
}

async function stopNode(): Promise<void> {
  await client.close();
  await replica.close();
}

function put(key: string, bytes: number): KvOperation {
  const value = { kind: "inline", bytes: randomBytes(bytes) } as const;
  return { kind: "put", key: Key.parse(key), value };
}

/** Leaves so little room that hardly a page fits. */
async function fillDisk(): Promise<string> {
  const filler = join(disk, "filler");
  await run("sh", ["-c", `dd if=/dev/zero of=${filler} bs=4k 2>/dev/null || true`]);
  return filler;
}

async function caughtUp(): Promise<void> {
  await expect.poll(() => replica.point(NAMESPACE)).toEqual(await origin.point(NAMESPACE));
}

test.skipIf(!isPossible)(
  "KV replica: a full disk is said once, reads go on, and it catches up by itself",
  { timeout: 120_000 },
  async () => {
    await client.ready(NAMESPACE);
    await origin.write(NAMESPACE, [put("a", 1_000), put("b", 20_000)]);
    await caughtUp();
    const before = replica.get(NAMESPACE, "a");
    const filler = await fillDisk();
    for (let index = 0; index < 60; index += 1) {
      await origin.write(NAMESPACE, [put(`k${index}`, 60_000)]);
    }
    await expect.poll(() => client.status()).toMatchObject([{ isStorageFailing: true }]);
    const revision = replica.revision(NAMESPACE);
    const asked = asks;
    await expect.poll(() => asks).toBeGreaterThan(asked + 2);
    expect(client.status()).toMatchObject([{ isStorageFailing: true, revision }]);
    expect(replica.get(NAMESPACE, "a")).toEqual(before);
    expect(lines.filter((line) => line.includes("the replica refused a change"))).toHaveLength(1);
    expect(lines.filter((line) => line.includes("could not be stored"))).toHaveLength(1);
    await rm(filler);
    await caughtUp();
    expect(client.status()).toMatchObject([{ isStorageFailing: false, revision: 62, repairs: 0 }]);
    expect(lines.filter((line) => line.includes("takes changes again"))).toHaveLength(1);
    expect(replica.get(NAMESPACE, "k59")?.value).toMatchObject({ kind: "inline" });
    const revisionNow = await client.write(NAMESPACE, [put("after", 10)]);
    expect(revisionNow).toBe(63);
  },
);

test.skipIf(!isPossible)(
  "KV replica: a node that starts on a full disk serves what it has, and catches up when there is room",
  { timeout: 120_000 },
  async () => {
    await client.ready(NAMESPACE);
    await origin.write(NAMESPACE, [put("a", 1_000)]);
    await caughtUp();
    await stopNode();
    const filler = await fillDisk();
    await origin.write(
      NAMESPACE,
      Array.from({ length: 50 }, (_, index) => put(`k${index}`, 60_000)),
    );
    await startNode();
    expect(replica.get(NAMESPACE, "a")?.value).toMatchObject({ kind: "inline" });
    await expect.poll(() => client.status()).toMatchObject([{ isStorageFailing: true }]);
    await rm(filler);
    await caughtUp();
  },
);

test.skipIf(!isPossible)(
  "KV replica: a new one on a full disk is refused, and made once there is room",
  { timeout: 60_000 },
  async () => {
    const filler = await fillDisk();
    const place = { directory: join(disk, "other"), clock, log };
    for (let time = 0; time < 2; time += 1) {
      await expect(LmdbReplica.open(place)).rejects.toMatchObject({ code: "storage_failed" });
    }
    await rm(filler);
    const other = await LmdbReplica.open(place);
    expect(other.held()).toEqual([]);
    await other.close();
  },
);

test.skipIf(!isPossible)(
  "KV values: where the disk is full small ones are read, large ones say so, and come later",
  { timeout: 60_000 },
  async () => {
    const [small, large] = [randomBytes(5_000), randomBytes(4_000_000)];
    const hashOf = async (bytes: Buffer): Promise<string> =>
      Buffer.from(await crypto.subtle.digest("SHA-256", Uint8Array.from(bytes))).toString("hex");
    const contents = new Map([
      [await hashOf(small), small],
      [await hashOf(large), large],
    ]);
    const values = await ValueCache.open({
      directory: join(disk, "values"),
      blobs: {
        fetch: async ({ hash }) => {
          const content = contents.get(hash);
          return content && new Response(Uint8Array.from(content)).body?.values();
        },
        store: () => Promise.reject(new Error("nothing is stored here")),
      },
      clock,
      log,
    });
    const filler = await fillDisk();
    const place = { namespace: NAMESPACE, key: Key.parse("k") };
    const smallName = { hash: await hashOf(small), size: small.length, place };
    const largeName = { hash: await hashOf(large), size: large.length };
    for (let round = 0; round < 3; round += 1) {
      expect((await values.readValue(smallName)).equals(small)).toBe(true);
    }
    expect(lines.filter((line) => line.includes("can't be kept"))).toHaveLength(1);
    await expect(values.openValue(largeName)).rejects.toMatchObject({
      code: "value_unavailable",
      retryable: true,
    });
    await rm(filler);
    const file = await values.openValue(largeName);
    expect((await file.readFile()).equals(large)).toBe(true);
    await file.close();
    await values.close();
  },
);
