import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Key, LIMITS as KV_LIMITS, type NamespaceId } from "@atoll/kv-store";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { ControlPlaneApi, type Answer } from "../test-support/control-plane-api.ts";
import { NamespaceApi } from "../test-support/namespace-api.ts";
import { QuotaFollower } from "./quota-follower.ts";

let api: ControlPlaneApi;
let words: NamespaceApi;
let id: NamespaceId;
let base: string;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
  words = await NamespaceApi.create(api);
  ({ id } = words);
  base = `A/storage/kv/namespaces/${id}`;
});
afterEach(() => api.close());

async function exported(query = ""): Promise<ReadonlyArray<Record<string, unknown>>> {
  const response = await words.fetch(`/export${query}`);
  expect(response.status).toBe(200);
  const lines = (await response.text()).trimEnd().split("\n");
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

function importLines(...lines: ReadonlyArray<unknown>): Promise<Answer> {
  const texts = lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line)));
  return words.call("POST", "/import", texts.join("\n"));
}

describe("kv management: ", () => {
  test("status tells what the account and each namespace has, and how far back it can go", async () => {
    await words.put("a", "12345");
    const { result } = await api.call("GET A/storage/kv/status");
    const since = new Date(api.clock.nowMs()).toISOString();
    expect(result).toMatchObject({
      account: { name: "Ours", keys: 1, bytes: 6, writesToday: 0, quota: { keysMax: null } },
      namespaces: [
        { id, title: "words", revision: 1, keys: 1, bytes: 6, log: { records: 1, since } },
      ],
    });
    expect(result.namespaces[0].replicas).toEqual([]);
    await api.call("POST A/storage/kv/namespaces", { title: "others" });
    const one = await api.call(`GET ${base}/status`);
    expect(one.result.namespaces).toHaveLength(1);
    const all = await api.call("GET A/storage/kv/status");
    expect(all.result.namespaces.map(({ title }: { title: string }) => title)).toEqual([
      ...["others", "words"],
    ]);
  });

  test("an export has exactly what there is, of now or of a moment, and an import brings it back", async () => {
    const large = Buffer.alloc(70_000, "äö");
    const binary = Buffer.from([0xff, 0x00, 0xfe]);
    await words.put("large", large);
    await words.put("binary", binary);
    const then = new Date(api.clock.nowMs()).toISOString();
    api.clock.advanceMs(1_000);
    await api.origin.write(id, [
      {
        kind: "put",
        key: Key.parse("\u2028\n"),
        value: { kind: "inline", bytes: Buffer.from("x") },
        metadata: '{ "a": 1.0 }',
        expiresAt: 2e9,
      },
      { kind: "delete", key: Key.parse("binary") },
    ]);
    const head = { atoll: "kv-dump", version: 1, namespace: id };
    const largeLine = { key: "large", value: large.toString() };
    const now = await exported();
    expect(now).toEqual([
      { ...head, revision: 4, at: new Date(api.clock.nowMs()).toISOString() },
      largeLine,
      { key: "\u2028\n", value: "x", metadata: '{ "a": 1.0 }', expiration: 2e9 },
      { end: true, entries: 2 },
    ]);
    const before = await exported(`?at=${then}`);
    const binaryLine = { key: "binary", base64: binary.toString("base64") };
    expect(before).toEqual([
      { ...head, revision: 2, at: then },
      ...[binaryLine, largeLine, { end: true, entries: 2 }],
    ]);
    await api.call(`POST ${base}/bulk/delete`, ["large", "\u2028\n"]);
    const imported = await importLines(...now.slice(1, -1));
    expect(imported.result).toEqual({ written: 2, expired: 0 });
    expect((await exported()).slice(1)).toEqual(now.slice(1));
  });

  test("an import writes all of its lines or none, and leaves out what has expired", async () => {
    const wrong = await importLines({ key: "a", value: "1" }, { key: "", value: "1" });
    expect(wrong).toMatchObject({
      ...{
        status: 400,
        errors: [{ code: 10_029, message: expect.stringContaining("line 2: Key names must not") }],
      },
    });
    for (const line of ["", "{}", { end: true, entries: 0 }]) {
      expect((await importLines(line)).status).toBe(400);
    }
    const body = Buffer.from([0xff]);
    expect((await api.fetch(`${base}/import`, { method: "POST", body })).status).toBe(400);
    expect((await exported()).at(-1)).toEqual({ end: true, entries: 0 });
    const nowSeconds = Math.floor(api.clock.nowMs() / 1_000);
    const { result } = await importLines(
      { key: "gone", value: "1", expiration: nowSeconds },
      // Sooner than a new key may expire: it was written long ago.
      { key: "soon", value: "1", expiration: nowSeconds + 1 },
    );
    expect(result).toEqual({ written: 1, expired: 1 });
  });

  test("a restore is made in parts, and first only said", async () => {
    await words.put("a", "1");
    const at = new Date(api.clock.nowMs()).toISOString();
    api.clock.advanceMs(1_000);
    await words.put("a", "2");
    await words.put("b", "2");
    const restore = (dry_run: boolean, after: string | null = null) =>
      api.call(`POST ${base}/restore`, { at, dry_run, after });
    const first = { to: 1, puts: 1, deletes: 1, next: "b" };
    expect((await restore(true)).result).toEqual(first);
    expect((await restore(false)).result).toEqual(first);
    expect((await restore(false, "b")).result).toEqual({ to: 1, puts: 0, deletes: 0, next: null });
    expect((await exported()).slice(1, -1)).toEqual([{ key: "a", value: "1" }]);
  });

  test.each([
    { at: "2001-01-01T00:00:00Z", message: /the earliest possible is 2026-11-20T12:00:00.000Z/ },
    { at: "2101-01-01T00:00:00Z", message: /is still to come/ },
    { at: "yesterday", message: /body: at: / },
    { at: "2026-11-20", message: /body: at: / },
  ])("a restore to $at is refused", async ({ at, message }) => {
    const answer = await api.call(`POST ${base}/restore`, { at, dry_run: false, after: null });
    expect(answer).toMatchObject({
      status: 400,
      errors: [{ message: expect.stringMatching(message) }],
    });
  });

  test.each([
    "export?at=yesterday",
    "export?at=2001-01-01T00:00:00Z",
    "check?content=1",
    "export?x=1",
  ])("GET %s is refused", async (path) => {
    expect((await api.call(`GET ${base}/${path}`)).status).toBe(400);
  });

  test("a check finds a large value that is lost, or is another, and nothing else", async () => {
    const content = Buffer.alloc(70_000, "x");
    await words.put("large", content);
    await words.put("small", "1");
    const check = async (query = "") => (await api.call(`GET ${base}/check${query}`)).result;
    const sound = { id, title: "words", findings: [], replicas: [] };
    expect(await check("?content=true")).toEqual(sound);
    const { value } = (await api.origin.get(id, "large")) ?? {};
    const hash = value?.kind === "blob" ? value.hash : "";
    const file = join(api.directory, "kv-values", hash.slice(0, 2), hash);
    await writeFile(file, content.fill("y"));
    expect(await check()).toEqual(sound);
    expect((await check("?content=true")).findings).toMatchObject([
      expect.stringContaining('large value of key "large"'),
    ]);
    await rm(file);
    expect((await check()).findings).toMatchObject([expect.stringContaining("not in the blob")]);
  });

  test("quotas are the origin's within a second, and refuse as Cloudflare does", async () => {
    const { database, accounts } = api.controlPlane;
    const { id: account } = api.tenants.ours.account;
    const log = pino({ level: "silent" });
    const { origin, clock } = api;
    const follower = await QuotaFollower.start({ database, origin, clock, log });
    await accounts.configure(account, { kvQuota: { writesPerSecondMax: 1, keysMax: 1 } });
    expect((await words.put("a", "1")).status).toBe(200);
    expect((await words.put("b", "1")).status).toBe(200);
    await follower.look();
    expect(await words.put("a", "2")).toMatchObject({ status: 200 });
    const path = `${base}/values/a`;
    const limited = await api.fetch(path, { method: "PUT", body: "3" });
    expect([limited.status, limited.headers.get("retry-after")]).toEqual([429, "1"]);
    expect(await limited.json()).toMatchObject({
      errors: [{ code: 10_048, message: expect.stringContaining("Too Many Requests") }],
    });
    clock.advanceMs(1_000);
    expect(await words.put("c", "1")).toMatchObject({ status: 413, errors: [{ code: 10_048 }] });
    await accounts.configure(account, { kvQuota: { keysMax: null, writesPerDayMax: 1 } });
    await follower.look();
    const spent = await words.put("c", "1");
    expect(spent.errors[0]?.message).toContain("KV put() limit exceeded for the day.");
    expect((await api.call("GET A/storage/kv/status")).result.account).toMatchObject({
      ...{ writesToday: 1, quota: { writesPerSecondMax: 1, writesPerDayMax: 1, keysMax: null } },
    });
    await accounts.configure(account, {
      kvQuota: { writesPerSecondMax: null, writesPerDayMax: null },
    });
    await follower.look();
    expect((await words.put("c", "1")).status).toBe(200);
    // One that starts anew takes back what the origin was told by one before it.
    await accounts.configure(account, { kvQuota: { keysMax: 0 } });
    await follower.look();
    follower.close();
    await accounts.configure(account, { kvQuota: { keysMax: null } });
    const next = await QuotaFollower.start({ database, origin, clock, log });
    expect((await words.put("d", "1")).status).toBe(200);
    next.close();
  });

  test("another account's namespace is none to any of it", async () => {
    for (const line of [
      ...["status", "export", "check"].map((path) => `GET ${base}/${path}`),
      `POST ${base}/import`,
    ]) {
      expect((await api.call(line, undefined, "theirs")).status).toBe(404);
    }
    const body = { at: "2026-11-20T12:00:00Z", dry_run: true, after: null };
    expect((await api.call(`POST ${base}/restore`, body, "theirs")).status).toBe(404);
    expect((await api.call("GET A/storage/kv/status", undefined, "theirs")).result).toMatchObject({
      ...{ account: { keys: 0 }, namespaces: [] },
    });
  });

  test("a part of an import has as many lines as a bulk write has entries, and not one more", async () => {
    const line = { key: "a", value: "" };
    const lines = Array.from({ length: KV_LIMITS.bulkWriteKeysMax }, () => line);
    expect((await importLines(...lines)).result).toEqual({ written: lines.length, expired: 0 });
    const before = await api.origin.point(words.id);
    const message = expect.stringContaining("more than 10000 lines");
    expect(await importLines(...lines, line)).toMatchObject({ status: 413, errors: [{ message }] });
    expect(await api.origin.point(words.id)).toEqual(before);
  });

  test("a part of an import that is too large is refused", async () => {
    const body = Buffer.alloc(LIMITS.kvBulkBodyBytesMax + 1, "x");
    const response = await api.fetch(`${base}/import`, { method: "POST", body });
    expect(response.status).toBe(413);
  });
});
