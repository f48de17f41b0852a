import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { AccountQuota } from "../accounts/quota.ts";
import {
  NO_DAY_BOUNDS,
  NO_DAY_USE,
  NodeName,
  Region,
  USAGE_SUMS,
  UsageBatch,
  VersionId,
  type DayQuota,
  type MessageToNode,
  type UsageRow,
} from "../contract/index.ts";
import { NodeStore } from "../nodes/store.ts";
import { mintCredential } from "../secrets/credential.ts";
import { ControlPlaneApi, type Tenant } from "../test-support/control-plane-api.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
import { DayQuotas, type DayQuotaLink } from "./day-quotas.ts";
import { KvCharges } from "./kv-charges.ts";
import { UsageService } from "./service.ts";

const FRA = NodeName.parse("fra-1");
const NRT = NodeName.parse("nrt-1");
const VERSION = VersionId.parse("11111111-1111-4111-8111-111111111111");
const DAY = "2026-11-20";
const ZERO = Object.fromEntries(USAGE_SUMS.map((name) => [name, 0]));
const NOTHING = NO_DAY_USE;

let api: ControlPlaneApi;
let usage: UsageService;
let quotas: DayQuotas;
let log: RecordedLog;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
  log = new RecordedLog();
  const parts = { database: api.controlPlane.database, clock: api.clock, log: log.logger };
  usage = new UsageService(parts);
  quotas = new DayQuotas(parts);
  for (const name of [FRA, NRT]) await enrol(name);
});
afterEach(async () => {
  await quotas.close();
  await api.close();
});

async function enrol(name: NodeName): Promise<void> {
  const now = new Date(api.clock.nowMs()).toISOString();
  const region = Region.parse("fra");
  const node = {
    ...{ name, region, enrolledAt: now, lastSeenAt: now },
    sealingKey: new Uint8Array(32),
  };
  const credential = mintCredential("atoll-node");
  await api.controlPlane.database
    .transaction()
    .execute((transaction) => new NodeStore().put(transaction, { node, credential }));
}

async function grant(quota: Partial<AccountQuota>): Promise<void> {
  await api.controlPlane.accounts.configure(accountOf("ours"), { quota });
}

function accountOf(tenant: Tenant) {
  return api.tenants[tenant].account.id;
}

async function use(
  node: NodeName,
  sequence: number,
  used: Partial<UsageRow> & { readonly tenant?: Tenant },
): Promise<void> {
  const { tenant = "ours", ...counts } = used;
  const row = {
    ...{ ...ZERO, worker: `${accountOf(tenant)}/hello`, version: VERSION, memoryPeakBytes: 0 },
    ...{ hour: `${DAY}T12:00:00.000Z`, ...counts },
  };
  await usage.record(node, UsageBatch.parse({ sequence, rows: [row] }));
}

type QuotaMessage = Extract<MessageToNode, { kind: "day-quotas" }>;

/** A node that keeps what it is told. */
class ToldNode {
  readonly link: DayQuotaLink;
  readonly #messages: QuotaMessage[] = [];

  constructor(node: NodeName) {
    this.link = quotas.connect({ node, send: (message) => this.#messages.push(message) });
  }

  /** What came since the last time. */
  async news(): Promise<ReadonlyArray<QuotaMessage>> {
    await quotas.look();
    return this.#messages.splice(0);
  }
}

/** Connects a node, which is told at once. */
async function connect(node: NodeName): Promise<ToldNode> {
  const told = new ToldNode(node);
  told.link.open();
  return told;
}

function quotaOf(changes: Partial<DayQuota>): DayQuota {
  const bounds = { ...NO_DAY_BOUNDS, requestsMax: 100 };
  return {
    ...{ account: accountOf("ours"), ...bounds, day: DAY, elsewhere: NOTHING, here: NOTHING },
    ...changes,
  };
}

describe("quotas by day: ", () => {
  test("each node is told what was used on the others, and then what changes", async () => {
    await grant({ requestsPerDayMax: 100 });
    await use(FRA, 1, { requests: 3, cpuUs: 30 });
    const [fra, nrt] = [await connect(FRA), await connect(NRT)];
    const used = { ...NOTHING, requests: 3, cpuUs: 30 };
    const told = (isFirst: boolean, changes: Partial<DayQuota>) => [
      { kind: "day-quotas", isFirst, quotas: [quotaOf(changes)] },
    ];
    expect(await fra.news()).toEqual(told(true, { here: used }));
    expect(await nrt.news()).toEqual(told(true, { elsewhere: used }));
    expect(await fra.news()).toEqual([]);
    await use(NRT, 1, { requests: 1 });
    const ofNrt = { ...NOTHING, requests: 1 };
    expect(await fra.news()).toEqual(told(false, { here: used, elsewhere: ofNrt }));
    expect(await nrt.news()).toEqual(told(false, { here: ofNrt, elsewhere: used }));
  });

  test("a batch that comes twice counts once, and static sites not at all", async () => {
    await grant({ requestsPerDayMax: 100 });
    await use(FRA, 1, { requests: 3 });
    await use(FRA, 1, { requests: 3 });
    await use(FRA, 2, { requests: 50, isStatic: true });
    await use(FRA, 3, { requests: 9, tenant: "theirs" });
    const nrt = await connect(NRT);
    expect((await nrt.news())[0]?.quotas).toEqual([
      quotaOf({ elsewhere: { ...NOTHING, requests: 3 } }),
    ]);
  });

  test("the next day begins with nothing, whenever the day before is told of", async () => {
    await grant({ requestsPerDayMax: 100 });
    await use(FRA, 1, { requests: 100 });
    const nrt = await connect(NRT);
    await nrt.news();
    api.clock.advanceMs(12 * 60 * 60 * 1_000);
    const day = "2026-11-21";
    expect((await nrt.news())[0]?.quotas).toEqual([quotaOf({ day })]);
    await use(FRA, 2, { requests: 5 });
    expect(await nrt.news()).toEqual([]);
    await use(FRA, 3, { requests: 2, hour: `${day}T00:00:00.000Z` });
    expect((await nrt.news())[0]?.quotas).toEqual([
      quotaOf({ day, elsewhere: { ...NOTHING, requests: 2 } }),
    ]);
  });

  test("a quota that is lifted is told once, and to who connects then nothing of it", async () => {
    await grant({ requestsPerDayMax: 100 });
    const fra = await connect(FRA);
    await fra.news();
    await grant({ requestsPerDayMax: null });
    expect(await fra.news()).toEqual([
      { kind: "day-quotas", isFirst: false, quotas: [quotaOf({ requestsMax: null })] },
    ]);
    expect(await fra.news()).toEqual([]);
    const nrt = await connect(NRT);
    expect(await nrt.news()).toEqual([{ kind: "day-quotas", isFirst: true, quotas: [] }]);
    fra.link.close();
    await grant({ requestsPerDayMax: 1 });
    expect(await fra.news()).toEqual([]);
  });

  test("reads and lists of KV have quotas of their own, which the log tells by themselves", async () => {
    await grant({ kvReadsPerDayMax: 10, kvListsPerDayMax: 5 });
    await use(FRA, 1, { kvReads: 7, kvLists: 5, kvWrites: 3, kvDeletes: 2 });
    const bounds = { ...NO_DAY_BOUNDS, kvReadsMax: 10, kvListsMax: 5 };
    const used = { ...NOTHING, kvReads: 7, kvLists: 5 };
    const nrt = await connect(NRT);
    expect((await nrt.news())[0]?.quotas).toEqual([quotaOf({ ...bounds, elsewhere: used })]);
    expect((await api.call("GET A/usage")).result.today).toMatchObject({
      ...{ kvReads: 7, kvReadsMax: 10, kvLists: 5, kvListsMax: 5, isUsedUp: false },
    });
    await use(NRT, 1, { kvReads: 3 });
    await nrt.news();
    const told = log.lines.filter(({ msg }) => msg === "an account used up its day");
    expect(told.map(({ usedUp }) => usedUp)).toEqual([["kvLists"], ["kvReads", "kvLists"]]);
    await grant({ kvReadsPerDayMax: null, kvListsPerDayMax: null });
    const lifted = { ...NO_DAY_BOUNDS, elsewhere: used, here: { ...NOTHING, kvReads: 3 } };
    expect((await nrt.news())[0]?.quotas).toEqual([quotaOf(lifted)]);
  });

  test("what calls of the API read and list is told to all nodes, as used elsewhere", async () => {
    await grant({ kvReadsPerDayMax: 5 });
    const charges = new KvCharges({ ...api.controlPlane, clock: api.clock, log: log.logger });
    await use(FRA, 1, { kvReads: 2 });
    await charges.charge(accountOf("ours"), { use: "read", count: 3 });
    await charges.charge(accountOf("ours"), { use: "list", count: 1 });
    await charges.close();
    const bounds = { ...NO_DAY_BOUNDS, kvReadsMax: 5 };
    const here = { ...NOTHING, kvReads: 2 };
    const called = { ...NOTHING, kvReads: 3, kvLists: 1 };
    const fra = await connect(FRA);
    expect((await fra.news())[0]?.quotas).toEqual([
      quotaOf({ ...bounds, here, elsewhere: called }),
    ]);
    const refused = charges.charge(accountOf("ours"), { use: "read", count: 1 });
    await expect(refused).rejects.toMatchObject({ code: "daily_reads_exceeded" });
  });

  test("the account and its operator see what is used of it, and the log tells once", async () => {
    await grant({ requestsPerDayMax: 100, cpuMsPerDayMax: 50 });
    await use(FRA, 1, { requests: 1, cpuUs: 20_000 });
    const expected = {
      ...{ day: DAY, endsAt: "2026-11-21T00:00:00.000Z", requests: 1, requestsMax: 100 },
      ...{ cpuMs: 20, cpuMsMax: 50, isUsedUp: false },
      ...{ kvReads: 0, kvReadsMax: null, kvLists: 0, kvListsMax: null },
    };
    expect((await api.call("GET A/usage")).result.today).toEqual(expected);
    await use(NRT, 1, { cpuUs: 30_000 });
    const [ours] = (await api.controlPlane.accounts.list()).filter(({ name }) => name === "Ours");
    expect(ours && (await api.controlPlane.accounts.today(ours))).toEqual({
      ...{ ...expected, cpuMs: 50, isUsedUp: true },
    });
    const fra = await connect(FRA);
    await fra.news();
    await fra.news();
    const told = log.lines.filter(({ msg }) => msg === "an account used up its day");
    expect(told).toMatchObject([{ account: accountOf("ours"), day: DAY, cpuUs: 50_000 }]);
    const theirs = (await api.call("GET A/usage", undefined, "theirs")).result.today;
    expect(theirs).toMatchObject({ requests: 0, requestsMax: null, isUsedUp: false });
  });

  test.each([
    [{ requestsPerDayMax: 0 }, true],
    [{ requestsPerDayMax: 1 }, true],
    [{ requestsPerDayMax: 2 }, false],
    [{ cpuMsPerDayMax: 0 }, true],
    [{ cpuMsPerDayMax: 7 }, true],
    [{ cpuMsPerDayMax: 8 }, false],
    [{}, false],
  ])("%j, lowered after 1 request and 7 ms, is used up: %s", async (quota, isUsedUp) => {
    await use(FRA, 1, { requests: 1, cpuUs: 7_000 });
    await grant(quota);
    expect((await api.call("GET A/usage")).result.today).toMatchObject({ isUsedUp });
  });
});
