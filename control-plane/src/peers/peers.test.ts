import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import pino from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Database } from "../database/database.ts";
import { openSqliteDatabase } from "../database/sqlite-database.ts";
import { LIMITS } from "../limits.ts";
import { TurnedClock } from "../test-support/turned-clock.ts";
import { Peers } from "./peers.ts";

interface Member {
  readonly peers: Peers;
  /** Its own, by which nobody else goes. */
  readonly clock: TurnedClock;
}

let directory: string;
let database: Database;
let first: Member;
let second: Member;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-peers-"));
  database = await openSqliteDatabase(join(directory, "control-plane.sqlite"));
  [first, second] = [start("http://127.0.0.1:1"), start("http://127.0.0.1:2")];
  await waitFor(() => expect(seenAfter(first, 0)).toEqual([second.peers.id]));
});
afterEach(async () => {
  for (const { peers } of [first, second]) await peers.close();
  await database.destroy();
  await rm(directory, { recursive: true });
});

function start(url: string): Member {
  const clock = new TurnedClock();
  const log = pino({ level: "silent" });
  return { clock, peers: new Peers({ url, database, clock, log, tell: () => undefined }) };
}

/** Whom one sees; it looks again some time later. */
function seenAfter({ peers, clock }: Member, ms: number): ReadonlyArray<string> {
  clock.advanceMs(ms);
  clock.turn();
  return peers.others.map(({ id }) => id);
}

test("control planes: each says where it is, and a new one and one that ends are noticed", async () => {
  expect(first.peers.find(second.peers.id)?.url).toBe("http://127.0.0.1:2");
  let changes = 0;
  first.peers.onChange(() => (changes += 1));
  const third = start("http://127.0.0.1:3");
  await waitFor(() => expect(seenAfter(first, 0).length).toBe(2));
  await third.peers.close();
  await waitFor(() => expect(seenAfter(first, 0)).toEqual([second.peers.id]));
  expect(changes).toBe(2);
});

test("control planes: one that shows no life is gone after its time, and its row with it", async () => {
  const startMs = first.clock.monotonicMs();
  await waitFor(() => expect(seenAfter(first, 1_000)).toEqual([]));
  const silentMs = first.clock.monotonicMs() - startMs;
  expect(silentMs).toBeGreaterThanOrEqual(LIMITS.controlPlaneSilenceMs - LIMITS.stateLookMs);
  const rows = await database.selectFrom("control_planes").select("id").execute();
  expect(rows).toEqual([{ id: first.peers.id }]);
  // It was only stuck.
  await waitFor(() => {
    seenAfter(second, LIMITS.controlPlaneAliveMs);
    expect(seenAfter(first, 1_000)).toEqual([second.peers.id]);
  });
});

test("control planes: while the database is away nobody is gone", async () => {
  await database.schema.alterTable("control_planes").renameTo("away").execute();
  for (let second = 0; second < 60; second += 1) {
    expect(seenAfter(first, 1_000)).toHaveLength(1);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await database.schema.alterTable("away").renameTo("control_planes").execute();
  for (let look = 0; look < 3; look += 1) {
    expect(seenAfter(first, 1_000)).toHaveLength(1);
    await database.selectFrom("control_planes").select("id").execute();
  }
});
