import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, expect, test } from "vitest";
import { systemClock } from "../clock.ts";
import { LIMITS } from "../limits.ts";
import { NamespaceId } from "../names.ts";
import { SqliteOrigin } from "../origin/sqlite-origin.ts";
import { encodeOperation } from "../record-codec.ts";
import { entryDigest, StateSum } from "../state-digest.ts";
import { DISK_ERRORS, FaultyDisk } from "../test-support/faulty-disk/faulty-disk.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
import { waitFor } from "../test-support/wait-for.ts";
import { LmdbReplica } from "./lmdb-replica.ts";

const NAMESPACE = NamespaceId.parse("1".repeat(32));
const FOLLOWER = join(import.meta.dirname, "..", "test-support", "replica-follower.ts");
// Writes of one change, and some of the next.
const WRITES = 8;
// A failed change is asked for again after a pause.
const GIVEN_UP = 70;
/** Two pages, of which one says where the newest state is: LMDB gives up its files when it can't be written. */
const META_BYTES = 2 * 4_096;

let directory: string;
let disk: FaultyDisk;
let followers: Follower[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-node-disk-"));
  disk = await FaultyDisk.create({ directory, files: join(directory, "replica") });
  followers = [];
});
afterEach(async () => {
  for (const follower of followers) await follower.kill();
  await disk.close();
  await rm(directory, { recursive: true });
});

/** A process with a replica on the faulty disk, and the last that it said. */
class Follower {
  held = 0;
  head = 0;
  /** What came of reads. */
  readonly reads = new Set<string>();
  readonly #exited: Promise<unknown>;
  #exitCode: number | null = null;
  readonly #kill: () => void;

  constructor() {
    const follower = spawn(process.execPath, [FOLLOWER, directory, NAMESPACE], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, ...disk.environment },
    });
    this.#exited = Promise.all([once(follower, "exit"), once(follower.stdout, "close")]);
    follower.on("exit", (code) => (this.#exitCode = code));
    this.#kill = () => follower.kill("SIGKILL");
    createInterface({ input: follower.stdout }).on("line", (line) => {
      const [held, head, read = ""] = line.split(" ");
      this.held = Number(held);
      this.head = Number(head);
      this.reads.add(read);
    });
    followers.push(this);
  }

  /** Resolves when the replica has what the origin had at the time of the call, and more. */
  async catchUp(): Promise<void> {
    const enough = this.head + 20;
    await waitFor(() => expect(this.held).toBeGreaterThanOrEqual(enough));
  }

  /** Resolves when the origin has gone on by so much. */
  async goOn(count: number): Promise<void> {
    const enough = this.head + count;
    await waitFor(() => expect(this.head).toBeGreaterThanOrEqual(enough));
  }

  async end(): Promise<void> {
    await this.#exited;
  }

  /** Whether it ended because LMDB had given up; false while it runs. */
  get hasGivenUp(): boolean {
    return this.#exitCode === GIVEN_UP;
  }

  async kill(): Promise<void> {
    this.#kill();
    await this.#exited;
  }
}

/**
 * Checks that what is on the disk is the state as of its revision, and a part of the origin's history; answers
 * that revision.
 */
async function inspect(): Promise<number> {
  const log = new RecordedLog();
  const place = { directory: join(directory, "replica"), clock: systemClock, log };
  const replica = await LmdbReplica.open(place);
  const path = join(directory, "kv.sqlite");
  const origin = SqliteOrigin.open({ path, clock: systemClock, log });
  try {
    const point = replica.point(NAMESPACE);
    if (point === undefined) throw new Error("nothing is held");
    const sum = new StateSum();
    for (const { key } of replica.list(NAMESPACE, { prefix: "", limit: LIMITS.listKeysMax })
      .entries) {
      const entry = replica.get(NAMESPACE, key);
      if (entry === undefined) throw new Error(`${key} is listed and not there`);
      sum.toggle(entryDigest(encodeOperation({ kind: "put", ...entry })));
    }
    expect(sum.digest).toBe(point.digest);
    expect(await origin.readLog(NAMESPACE, point)).toMatchObject({ kind: "records" });
    return point.revision;
  } finally {
    await replica.close();
    await origin.close();
  }
}

test.each([
  { what: "the disk is full", orders: { writeErrno: DISK_ERRORS.ENOSPC } },
  { what: "writes fail", orders: { writeErrno: DISK_ERRORS.EIO } },
  { what: "fsync fails", orders: { syncErrno: DISK_ERRORS.EIO } },
])(
  "LmdbReplica: while $what a node answers reads from what it holds, and follows again by itself",
  async ({ orders }) => {
    const follower = new Follower();
    await follower.catchUp();
    for (let round = 0; round < 2; round += 1) {
      await disk.order(orders);
      await follower.goOn(100);
      expect(await disk.read("faults")).toBeGreaterThan(0);
      await disk.heal();
      await follower.catchUp();
    }
    expect([...follower.reads]).toEqual(["read"]);
    await follower.kill();
    await inspect();
  },
  60_000,
);

test("LmdbReplica: a node whose LMDB gives up its files says so, and its next process goes on from there", async () => {
  const follower = new Follower();
  await follower.catchUp();
  await disk.order({ failBelow: META_BYTES });
  await waitFor(() => expect(follower.hasGivenUp).toBe(true));
  await disk.heal();
  const held = await inspect();
  expect(held).toBeGreaterThanOrEqual(follower.held);
  const next = new Follower();
  await next.catchUp();
  expect([...next.reads]).toEqual(["read"]);
  await next.kill();
  await inspect();
}, 120_000);

// Half a minute: for `ATOLL_THOROUGH` runs.
test.runIf(process.env["ATOLL_THOROUGH"] !== undefined)(
  "LmdbReplica: whichever one write fails, a node follows again, at the latest in its next process",
  async () => {
    let follower = new Follower();
    await follower.catchUp();
    for (let write = 1; write <= WRITES; write += 1) {
      await disk.order({ failIn: write });
      await waitFor(async () => expect(await disk.read("faults")).toBe(write));
      const enough = follower.head + 20;
      await waitFor(() => expect(follower.hasGivenUp || follower.held >= enough).toBe(true));
      expect([...follower.reads]).toEqual(["read"]);
      if (follower.hasGivenUp) follower = new Follower();
      await follower.catchUp();
    }
    await follower.kill();
    await inspect();
  },
  240_000,
);

test("LmdbReplica: after a power cut a node has what it had shown, as a whole, and follows", async () => {
  for (const [seed, calls] of [1, 4, 15, 40, 90].entries()) {
    const follower = new Follower();
    await follower.catchUp();
    await disk.order({ seed, cutIn: calls });
    await follower.end();
    expect(await inspect()).toBeGreaterThanOrEqual(follower.held);
  }
  const follower = new Follower();
  await follower.catchUp();
  expect(await disk.read("faults")).toBe(5);
}, 120_000);
