import { NamespaceId } from "@atoll/kv-store";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { AccountQuota } from "../accounts/quota.ts";
import { ControlPlaneApi, type Answer } from "../test-support/control-plane-api.ts";
import { TurnedClock } from "../test-support/turned-clock.ts";
import { QuotaFollower } from "./quota-follower.ts";

let api: ControlPlaneApi;
let clock: TurnedClock;
let base: string;
beforeEach(async () => {
  clock = new TurnedClock();
  api = await ControlPlaneApi.start({ clock });
  const made = await api.call("POST A/storage/kv/namespaces", { title: "words" });
  base = `A/storage/kv/namespaces/${NamespaceId.parse(made.result.id)}`;
});
afterEach(() => api.close());

async function grant(quota: Partial<AccountQuota>): Promise<void> {
  await api.controlPlane.accounts.configure(api.tenants.ours.account.id, { quota });
}

/** What calls did on this day; that without a bound once it is stored, which begins now. */
async function used(): Promise<readonly [reads: number, lists: number]> {
  clock.turn();
  const { kvReads, kvLists } = (await api.call("GET A/usage")).result.today;
  return [kvReads, kvLists];
}

async function write(keys: ReadonlyArray<string>): Promise<void> {
  const { status } = await api.call(
    `PUT ${base}/bulk`,
    keys.map((key) => ({ key, value: key, metadata: { key } })),
  );
  expect(status).toBe(200);
}

function keysUpTo(count: number): ReadonlyArray<string> {
  return Array.from({ length: count }, (_, index) => `key-${index}`);
}

function send(line: string, body?: unknown): Promise<Response> {
  const [method = "GET", path = ""] = line.split(" ");
  return api.fetch(path, body === undefined ? { method } : { method, body: JSON.stringify(body) });
}

/** The status of a call, whatever its answer is. */
async function statusOf(line: string, body?: unknown): Promise<number> {
  const response = await send(line, body);
  await response.arrayBuffer();
  return response.status;
}

/** What there is to see of a call that fails. */
async function refused(line: string, body?: unknown): Promise<object> {
  const response = await send(line, body);
  const { errors } = (await response.json()) as Answer;
  const retryAfter = response.headers.get("retry-after");
  return { status: response.status, error: errors[0], retryAfter };
}

/** By what a call is refused at noon: the bound, and when it ends. */
function refusal(call: string, bound: string): object {
  const what = `KV ${call} limit exceeded for the day. The account may make ${bound} until midnight UTC.`;
  const message = call === "put()" ? what : `Too Many Requests: ${what}`;
  return { status: 429, error: { code: 10_048, message }, retryAfter: String(12 * 60 * 60) };
}

describe("calls of the KV API count for the account's day: ", () => {
  test.each([
    ["without a bound", {}],
    ["with bounds", { kvReadsPerDayMax: 1_000, kvListsPerDayMax: 1_000 }],
  ])("each key that is read, and each listing, %s", async (_, quota) => {
    await grant(quota);
    await write(["a", "b"]);
    expect(await statusOf(`GET ${base}/values/a`)).toBe(200);
    expect(await statusOf(`GET ${base}/metadata/a`)).toBe(200);
    await expect.poll(used).toEqual([2, 0]);
    // One that is not there was looked for all the same, as by a worker.
    expect(await statusOf(`GET ${base}/values/none`)).toBe(404);
    expect(await statusOf(`POST ${base}/bulk/get`, { keys: ["a", "b", "none"] })).toBe(200);
    await expect.poll(used).toEqual([6, 0]);
    expect(await statusOf(`GET ${base}/keys?limit=10`)).toBe(200);
    expect(await statusOf(`GET ${base}/export`)).toBe(200);
    await expect.poll(used).toEqual([8, 1]);
    // What is wrong, somebody else's, or neither a read nor a list counts nothing.
    for (const [line, status, body] of [
      [`GET ${base}/values/${"k".repeat(513)}`, 414, undefined],
      [`GET ${base}/keys?limit=1`, 400, undefined],
      [`GET ${base}/keys?cursor=none`, 400, undefined],
      [`POST ${base}/bulk/get`, 400, { keys: [] }],
      [`POST ${base}/bulk/get`, 400, { keys: keysUpTo(101) }],
      [`GET ${base}/export?at=2000-01-01T00:00:00Z`, 400, undefined],
      [`GET ${base}/check`, 200, undefined],
      [`GET ${base}/status`, 200, undefined],
    ] as const) {
      expect(await statusOf(line, body), line).toBe(status);
    }
    expect((await api.fetch(`${base}/keys`, {}, "theirs")).status).toBe(404);
    await expect.poll(used).toEqual([8, 1]);
    expect((await api.call("GET A/usage", undefined, "theirs")).result.today.kvReads).toBe(0);
  });

  test("reads beyond the bound are refused as a worker's, until the next day, and nothing else is", async () => {
    await write(["a", "b"]);
    await grant({ kvReadsPerDayMax: 3 });
    expect(await statusOf(`POST ${base}/bulk/get`, { keys: ["a", "b"] })).toBe(200);
    const expected = refusal("get()", "3 reads");
    // As a whole, or not at all.
    expect(await refused(`POST ${base}/bulk/get`, { keys: ["a", "b"] })).toEqual(expected);
    expect(await refused(`GET ${base}/export`)).toEqual(expected);
    expect(await statusOf(`GET ${base}/values/a`)).toBe(200);
    for (const path of ["values/a", "values/none", "metadata/a"]) {
      expect(await refused(`GET ${base}/${path}`), path).toEqual(expected);
    }
    expect(await used()).toEqual([3, 0]);
    expect(await statusOf(`GET ${base}/keys`)).toBe(200);
    await write(["c"]);
    clock.advanceMs(12 * 60 * 60 * 1_000);
    expect(await statusOf(`GET ${base}/values/c`)).toBe(200);
    expect(await used()).toEqual([1, 0]);
  });

  test("lists beyond the bound are refused, and one that is raised or lifted lets through at once", async () => {
    await grant({ kvListsPerDayMax: 0 });
    expect(await refused(`GET ${base}/keys`)).toEqual(refusal("list()", "0 lists"));
    await grant({ kvListsPerDayMax: 1 });
    expect(await statusOf(`GET ${base}/keys`)).toBe(200);
    expect(await refused(`GET ${base}/keys`)).toEqual(refusal("list()", "1 lists"));
    await grant({ kvListsPerDayMax: null });
    expect(await statusOf(`GET ${base}/keys`)).toBe(200);
    await expect.poll(used).toEqual([0, 2]);
  });

  test("writes and deletes count by key, in bulk as well, and are refused as a whole", async () => {
    const { origin, controlPlane } = api;
    const { database, accounts } = controlPlane;
    const account = api.tenants.ours.account.id;
    await accounts.configure(account, { kvQuota: { writesPerDayMax: 10 } });
    // What the control plane's own does within a second.
    const log = pino({ level: "silent" });
    (await QuotaFollower.start({ database, origin, clock, log })).close();
    await write(["a", "b"]);
    expect(await statusOf(`PUT ${base}/values/c`, "1")).toBe(200);
    expect(await statusOf(`DELETE ${base}/values/none`)).toBe(200);
    expect(await statusOf(`POST ${base}/bulk/delete`, ["a", "b"])).toBe(200);
    expect(await statusOf(`POST ${base}/import`, { key: "d", value: "1" })).toBe(200);
    const { administration } = origin;
    expect(await administration.accountUse(account)).toMatchObject({ writesToday: 7 });
    const expected = refusal("put()", "10 writes");
    const tooMany = keysUpTo(4);
    const bulk = tooMany.map((key) => ({ key, value: "1" }));
    expect(await refused(`PUT ${base}/bulk`, bulk)).toEqual(expected);
    expect(await refused(`POST ${base}/bulk/delete`, tooMany)).toEqual(expected);
    expect(await statusOf(`POST ${base}/bulk/delete`, tooMany.slice(1))).toBe(200);
    for (const line of [`PUT ${base}/values/e`, `DELETE ${base}/values/c`, `PUT ${base}/bulk`]) {
      const body = line.endsWith("bulk") ? bulk.slice(0, 1) : undefined;
      expect(await refused(line, body), line).toEqual(expected);
    }
    expect(await refused(`POST ${base}/import`, { key: "f", value: "1" })).toEqual(expected);
    expect(await statusOf(`GET ${base}/values/f`)).toBe(404);
    expect(await administration.accountUse(account)).toMatchObject({ writesToday: 10 });
  });

  test("an export that comes to the bound ends there, without a last line", async () => {
    await write(keysUpTo(150));
    await grant({ kvReadsPerDayMax: 99 });
    expect(await refused(`GET ${base}/export`)).toEqual(refusal("get()", "99 reads"));
    await grant({ kvReadsPerDayMax: 149 });
    const cut = await api.fetch(`${base}/export`);
    expect(cut.status).toBe(200);
    await expect(cut.text()).rejects.toThrow();
    expect(await used()).toEqual([100, 0]);
    await grant({ kvReadsPerDayMax: 250 });
    const whole = await (await api.fetch(`${base}/export`)).text();
    expect(whole.trimEnd().split("\n")).toHaveLength(152);
    expect(await used()).toEqual([250, 0]);
  });

  test("a control plane that was stopped and started goes on from there", async () => {
    await write(["a"]);
    expect(await statusOf(`GET ${base}/values/a`)).toBe(200);
    await grant({ kvReadsPerDayMax: 2 });
    expect(await statusOf(`GET ${base}/values/a`)).toBe(200);
    await api.controlPlane.close();
    await api.origin.close();
    api = await api.reopen(api.directory);
    expect(await used()).toEqual([2, 0]);
    expect(await refused(`GET ${base}/values/a`)).toEqual(refusal("get()", "2 reads"));
  });
});
