import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterEach, beforeEach, expect, test } from "vitest";
import { NodeName, rawPublicKey, Region } from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import { openSqliteDatabase } from "../database/sqlite-database.ts";
import { LIMITS } from "../limits.ts";
import { TestClock } from "../test-support/test-clock.ts";
import { NodesService } from "./service.ts";

let directory: string;
let database: Database;
let clock: TestClock;
let nodes: NodesService;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-nodes-"));
  database = await openSqliteDatabase(join(directory, "control-plane.sqlite"));
  clock = new TestClock();
  nodes = new NodesService({ database, clock });
});
afterEach(async () => {
  await database.destroy();
  await rm(directory, { recursive: true, force: true });
});

const SEALING_KEY = rawPublicKey(generateKeyPairSync("x25519").publicKey);

function request(token: string, changes: { readonly sealingKey?: string } = {}) {
  const sealingKey = SEALING_KEY.toString("base64");
  return {
    token,
    name: NodeName.parse("fra-1"),
    region: Region.parse("fra"),
    sealingKey,
    ...changes,
  };
}

test("nodes: a join token lets one node in, which is then known by its credential", async () => {
  const { token } = await nodes.issueJoinToken();
  const { credential } = await nodes.enrol(request(token));
  const node = await nodes.authenticate(credential);
  expect(node).toMatchObject({ name: "fra-1", region: "fra", sealingKey: SEALING_KEY });
  expect(await nodes.list()).toEqual([node]);
  await expect(nodes.enrol(request(token))).rejects.toMatchObject({ code: "join_token_invalid" });
});

test("nodes: of several that race with one token, one gets in", async () => {
  const { token } = await nodes.issueJoinToken();
  const attempts = Array.from({ length: 5 }, () => nodes.enrol(request(token)));
  const results = await Promise.allSettled(attempts);
  expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
});

test("nodes: a join token holds until the hour is over", async () => {
  const early = await nodes.issueJoinToken();
  const late = await nodes.issueJoinToken();
  clock.advanceMs(LIMITS.joinTokenMs - 1);
  await nodes.enrol(request(early.token));
  clock.advanceMs(1);
  await expect(nodes.enrol(request(late.token))).rejects.toThrow(/expired at 2026-11-20T13/);
});

test("nodes: a bad key is refused and leaves the token usable", async () => {
  const { token } = await nodes.issueJoinToken();
  for (const sealingKey of ["", "AAAA", Buffer.alloc(33).toString("base64")]) {
    const refused = nodes.enrol(request(token, { sealingKey }));
    await expect(refused).rejects.toMatchObject({ code: "invalid_body" });
  }
  await nodes.enrol(request(token));
});

test("nodes: enrolling a name again replaces its credential", async () => {
  const first = await nodes.enrol(request((await nodes.issueJoinToken()).token));
  const second = await nodes.enrol(request((await nodes.issueJoinToken()).token));
  expect(await nodes.authenticate(first.credential)).toBeUndefined();
  expect(await nodes.authenticate(second.credential)).toMatchObject({ name: "fra-1" });
  expect(await nodes.list()).toHaveLength(1);
});

test("nodes: what is no credential of a node opens nothing", async () => {
  const { token } = await nodes.issueJoinToken();
  const { credential } = await nodes.enrol(request(token));
  for (const wrong of ["", "x", token, `${credential}x`, credential.slice(0, -1)]) {
    expect(await nodes.authenticate(wrong)).toBeUndefined();
  }
  for (const wrong of ["", "x", credential]) {
    await expect(nodes.enrol(request(wrong))).rejects.toMatchObject({ code: "join_token_invalid" });
  }
});

test("nodes: when a node was last seen is kept to the minute", async () => {
  const { credential } = await nodes.enrol(request((await nodes.issueJoinToken()).token));
  const lastSeen = async () => (await nodes.list())[0]?.lastSeenAt;
  clock.advanceMs(LIMITS.lastSeenMs - 1);
  await nodes.authenticate(credential);
  expect(await lastSeen()).toBe("2026-11-20T12:00:00.000Z");
  clock.advanceMs(1);
  await nodes.authenticate(credential);
  expect(await lastSeen()).toBe("2026-11-20T12:01:00.000Z");
  // Set back by an hour, it does not say for an hour that the node was seen in the future.
  clock.advanceMs(-3_600_000);
  await nodes.authenticate(credential);
  expect(await lastSeen()).toBe("2026-11-20T11:01:00.000Z");
});

test("nodes: one that was not seen for a while is let in where that can't be written", async () => {
  const { credential } = await nodes.enrol(request((await nodes.issueJoinToken()).token));
  clock.advanceMs(LIMITS.lastSeenMs);
  // What SQLite says then is what it says of a disk that takes nothing.
  await sql`pragma query_only = on`.execute(database);
  expect(await nodes.authenticate(credential)).toMatchObject({ name: "fra-1" });
  await sql`pragma query_only = off`.execute(database);
  await nodes.authenticate(credential);
  expect((await nodes.list())[0]?.lastSeenAt).toBe("2026-11-20T12:01:00.000Z");
});
