import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import SqliteDatabase from "better-sqlite3";
import { afterEach, beforeEach, expect, test } from "vitest";
import { systemClock } from "../clock.ts";
import type { Key, KvEntry } from "../entry.ts";
import { NamespaceId } from "../names.ts";
import { encodeOperation } from "../record-codec.ts";
import { entryDigest, StateSum } from "../state-digest.ts";
import { DISK_ERRORS, FaultyDisk } from "../test-support/faulty-disk/faulty-disk.ts";
import { textOf } from "../test-support/origin-place.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
import { waitFor } from "../test-support/wait-for.ts";
import { SqliteOrigin } from "./sqlite-origin.ts";

const NAMESPACE = NamespaceId.parse("1".repeat(32));
const WRITER = join(import.meta.dirname, "..", "test-support", "sqlite-writer.ts");
// Writes and syncs from one cut to the next: some commits, and every third time a checkpoint as well.
const CUT_CALLS = [1, 2, 3, 7, 20, 45, 90, 150, 260, 400];

let directory: string;
let path: string;
let disk: FaultyDisk;
let writers: Writer[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-disk-"));
  path = join(directory, "kv.sqlite");
  disk = await FaultyDisk.create({ directory, files: path });
  writers = [];
});
afterEach(async () => {
  for (const writer of writers) await writer.kill();
  await disk.close();
  await rm(directory, { recursive: true });
});

/** A process that writes to the faulty disk, and what it was told of its writes. */
class Writer {
  /** Keys with their revisions. */
  readonly acknowledged = new Map<string, number>();
  /** Keys with the code of the refusal. */
  readonly refused = new Map<string, string>();
  readonly #exited: Promise<unknown>;
  readonly #kill: () => void;

  constructor(name: string) {
    const writer = spawn(process.execPath, [WRITER, path, NAMESPACE, name], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, ...disk.environment },
    });
    this.#exited = Promise.all([once(writer, "exit"), once(writer.stdout, "close")]);
    this.#kill = () => writer.kill("SIGKILL");
    createInterface({ input: writer.stdout }).on("line", (line) => {
      const [sign, key = "", what = ""] = line.split(" ");
      if (sign === "+") this.acknowledged.set(key, Number(what));
      else this.refused.set(key, what);
    });
    writers.push(this);
  }

  /** Resolves when that many more writes are acknowledged. */
  async write(count: number): Promise<void> {
    const enough = this.acknowledged.size + count;
    await waitFor(() => expect(this.acknowledged.size).toBeGreaterThanOrEqual(enough));
  }

  /** Resolves when that many more writes are refused. */
  async fail(count: number): Promise<void> {
    const enough = this.refused.size + count;
    await waitFor(() => expect(this.refused.size).toBeGreaterThanOrEqual(enough));
  }

  /** Resolves when it has ended, by itself. */
  async end(): Promise<void> {
    await this.#exited;
  }

  async kill(): Promise<void> {
    this.#kill();
    await this.#exited;
  }
}

interface Found {
  readonly acknowledged: number;
  /** Keys that were acknowledged and are not there, or are another. */
  readonly lost: ReadonlyArray<string>;
  /** Keys that were refused and are there. */
  readonly happened: ReadonlyArray<string>;
}

/** Looks at what is on the disk as the next start of the origin does. */
async function inspect(): Promise<Found> {
  const origin = SqliteOrigin.open({ path, clock: systemClock, log: new RecordedLog() });
  try {
    const { revision, digest } = await origin.point(NAMESPACE);
    const entries = await allEntries(origin);
    const sum = new StateSum();
    for (const entry of entries)
      sum.toggle(entryDigest(encodeOperation({ kind: "put", ...entry })));
    expect(sum.digest).toBe(digest);
    const texts = new Map(entries.map((entry) => [String(entry.key), textOf(entry)]));
    const acknowledged = writers.flatMap((writer) => [...writer.acknowledged]);
    const isThere = (key: string): boolean => texts.get(key)?.split(".", 1)[0] === key;
    return {
      acknowledged: acknowledged.length,
      lost: acknowledged
        .filter(([key, written]) => !isThere(key) || written > revision)
        .map(([key]) => key),
      happened: writers.flatMap((writer) => [...writer.refused.keys()]).filter(isThere),
    };
  } finally {
    await origin.close();
    const database = new SqliteDatabase(path, { readonly: true });
    expect(database.pragma("integrity_check", { simple: true })).toBe("ok");
    database.close();
  }
}

async function allEntries(origin: SqliteOrigin): Promise<ReadonlyArray<KvEntry>> {
  const entries: KvEntry[] = [];
  for (let after: Key | null = null; ; after = entries.at(-1)?.key ?? null) {
    const page = await origin.readEntries(NAMESPACE, after);
    if (page.entries.length === 0) return entries;
    entries.push(...page.entries);
  }
}

test("SqliteOrigin: nothing acknowledged is lost when power is cut, whatever of the unsynced writes is on the disk", async () => {
  for (const [seed, calls] of CUT_CALLS.entries()) {
    const writer = new Writer(`cut-${seed}`);
    await writer.write(20);
    await disk.order({ seed, cutIn: calls });
    await writer.end();
    expect((await inspect()).lost).toEqual([]);
  }
  expect(await disk.read("faults")).toBe(CUT_CALLS.length);
  // Else the cuts would have proved nothing.
  expect(await disk.read("lost")).toBeGreaterThan(CUT_CALLS.length);
}, 120_000);

test("SqliteOrigin: nothing acknowledged is lost when half of a write is on the disk and power is cut", async () => {
  for (const [seed, writes] of [1, 2, 5, 30, 120].entries()) {
    const writer = new Writer(`torn-${seed}`);
    await writer.write(20);
    await disk.order({ seed, tearIn: writes });
    await writer.end();
    expect((await inspect()).lost).toEqual([]);
  }
  expect(await disk.read("faults")).toBe(5);
}, 120_000);

test.each([
  { what: "fsync fails", orders: { syncErrno: DISK_ERRORS.EIO } },
  { what: "the disk is full", orders: { writeErrno: DISK_ERRORS.ENOSPC } },
  { what: "writes fail", orders: { writeErrno: DISK_ERRORS.EIO } },
])(
  "SqliteOrigin: while $what, writes are refused as storage_failed; it goes on by itself, and keeps what it said",
  async ({ orders }) => {
    const writer = new Writer("patient");
    await writer.write(50);
    for (let round = 0; round < 3; round += 1) {
      await disk.order(orders);
      await writer.fail(20);
      const { size } = writer.acknowledged;
      await writer.fail(20);
      expect(writer.acknowledged.size).toBe(size);
      await disk.heal();
      await writer.write(100);
    }
    expect(new Set(writer.refused.values())).toEqual(new Set(["storage_failed"]));
    await disk.order({ seed: 1, cutIn: 50 });
    await writer.end();
    expect((await inspect()).lost).toEqual([]);
  },
  60_000,
);

test("SqliteOrigin: a write that a failed fsync refused may be there after a kill, and what was acknowledged is", async () => {
  const writer = new Writer("refused");
  await writer.write(50);
  await disk.order({ syncErrno: DISK_ERRORS.EIO });
  await writer.fail(20);
  await writer.kill();
  const { lost, happened } = await inspect();
  expect(lost).toEqual([]);
  // Its pages are in the log when the process ends, and nobody knows that they were to be forgotten.
  expect(happened.length).toBeGreaterThan(0);
}, 60_000);

test("the faulty disk: a disk that lies about fsync loses acknowledged writes, and these tests see it", async () => {
  const writer = new Writer("lied-to");
  await writer.write(20);
  await disk.order({ syncLies: 1 });
  await writer.write(100);
  await disk.order({ seed: 1, cutIn: 20 });
  await writer.end();
  expect((await inspect()).lost.length).toBeGreaterThan(0);
}, 60_000);
