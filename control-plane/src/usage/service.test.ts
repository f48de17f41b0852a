import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  NodeName,
  Region,
  USAGE_SUMS,
  UsageBatch,
  VersionId,
  WorkerName,
  type UsageRow,
} from "../contract/index.ts";
import { LIMITS } from "../limits.ts";
import { NodeStore } from "../nodes/store.ts";
import { mintCredential } from "../secrets/credential.ts";
import { ControlPlaneApi, type Tenant } from "../test-support/control-plane-api.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
import { UsageService } from "./service.ts";

const NODE = NodeName.parse("fra-1");
const V1 = VersionId.parse("11111111-1111-4111-8111-111111111111");
const V2 = VersionId.parse("22222222-2222-4222-8222-222222222222");
const HOUR = "2026-11-20T12:00:00.000Z";
const ZERO = Object.fromEntries(USAGE_SUMS.map((name) => [name, 0]));

let api: ControlPlaneApi;
let log: RecordedLog;
let usage: UsageService;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
  log = new RecordedLog();
  usage = new UsageService({
    database: api.controlPlane.database,
    clock: api.clock,
    log: log.logger,
  });
  await enrol(NODE);
});
afterEach(() => api.close());

/** Enrols a node, in place of one that has its name. */
async function enrol(name: NodeName): Promise<void> {
  const now = new Date(api.clock.nowMs()).toISOString();
  const region = Region.parse("fra");
  const sealingKey = new Uint8Array(32);
  const node = { name, region, sealingKey, enrolledAt: now, lastSeenAt: now };
  const credential = mintCredential("atoll-node");
  await api.controlPlane.database
    .transaction()
    .execute((transaction) => new NodeStore().put(transaction, { node, credential }));
}

function row(changes: Partial<UsageRow> & { readonly tenant?: Tenant } = {}): UsageRow {
  const { tenant = "ours", ...counts } = changes;
  const worker = `${api.tenants[tenant].account.id}/hello`;
  return { ...ZERO, worker, version: V1, hour: HOUR, memoryPeakBytes: 0, ...counts } as UsageRow;
}

function batch(sequence: number, rows: ReadonlyArray<UsageRow>): UsageBatch {
  return UsageBatch.parse({ sequence, rows });
}

async function ask(query = "", tenant: Tenant = "ours") {
  const answer = await api.call(`GET A/usage${query}`, undefined, tenant);
  return answer.success ? answer.result.workers : answer.errors[0];
}

describe("usage: ", () => {
  test("counts of batches, nodes and hours add up, and the peak is the highest", async () => {
    await enrol(NodeName.parse("nrt-1"));
    const every = Object.fromEntries(USAGE_SUMS.map((name, index) => [name, index + 1]));
    await usage.record(NODE, batch(1, [row({ ...every, memoryPeakBytes: 70 })]));
    await usage.record(NODE, batch(2, [row({ ...every, memoryPeakBytes: 50 })]));
    await usage.record(NodeName.parse("nrt-1"), batch(1, [row({ ...every, memoryPeakBytes: 60 })]));
    await usage.record(NODE, batch(3, [row({ ...every, hour: "2026-11-20T11:00:00.000Z" })]));
    const { cpuUs = 0, ...others } = every;
    const sums = Object.fromEntries(
      Object.entries(others).map(([name, value]) => [name, 4 * value]),
    );
    expect(await ask()).toEqual([
      { worker: "hello", version: V1, ...sums, cpuMs: (4 * cpuUs) / 1_000, memoryPeakBytes: 70 },
    ]);
  });

  test("a batch counts once, however often it comes, and so does one that comes late", async () => {
    expect(await usage.record(NODE, batch(1, [row({ requests: 1 })]))).toBe(1);
    expect(await usage.record(NODE, batch(2, [row({ requests: 10 })]))).toBe(2);
    for (const sequence of [1, 2, 1]) {
      expect(await usage.record(NODE, batch(sequence, [row({ requests: 100 })]))).toBe(2);
    }
    const twice = [3, 3].map((sequence) =>
      usage.record(NODE, batch(sequence, [row({ errors: 1 })])),
    );
    expect(await Promise.all(twice)).toEqual([3, 3]);
    expect(await ask()).toMatchObject([{ requests: 11, errors: 1 }]);
  });

  test("a batch that can't be stored is not seen as stored", async () => {
    const { database } = api.controlPlane;
    await database.schema.alterTable("usage").renameTo("elsewhere").execute();
    await expect(usage.record(NODE, batch(1, [row({ requests: 1 })]))).rejects.toThrow();
    await database.schema.alterTable("elsewhere").renameTo("usage").execute();
    expect(await usage.record(NODE, batch(1, [row({ requests: 1 })]))).toBe(1);
    expect(await ask()).toMatchObject([{ requests: 1 }]);
  });

  test("a node that enrols anew counts from the beginning, and one that did not counts nowhere", async () => {
    await usage.record(NODE, batch(5, [row({ requests: 1 })]));
    await enrol(NODE);
    expect(await usage.record(NODE, batch(1, [row({ requests: 1 })]))).toBe(1);
    expect(await ask()).toMatchObject([{ requests: 2 }]);
    const stranger = NodeName.parse("stranger");
    await expect(usage.record(stranger, batch(1, [row()]))).rejects.toThrow(/not enrolled/);
  });

  test("rows of accounts that do not exist are left out and told, the others are kept", async () => {
    const nobody = `${"f".repeat(32)}/hello`;
    await usage.record(
      NODE,
      batch(1, [row({ worker: nobody, requests: 7 }), row({ requests: 1 })]),
    );
    expect(await ask()).toMatchObject([{ requests: 1 }]);
    expect(log.lines).toMatchObject([{ node: NODE, sequence: 1, workers: [nobody] }]);
    expect(await usage.record(NODE, batch(1, [row({ requests: 1 })]))).toBe(1);
  });

  test("more rows than fit one statement are stored, and those of an age are removed", async () => {
    const rows = Array.from({ length: LIMITS.usageRowsPerStatement + 1 }, (_, index) =>
      row({ worker: `${api.tenants.ours.account.id}/w${index}`, requests: 1 }),
    );
    await usage.record(NODE, batch(1, rows));
    expect(await ask()).toHaveLength(rows.length);
    api.clock.advanceMs(LIMITS.usageKeptMs);
    await usage.record(NODE, batch(2, [row({ hour: "2027-12-25T12:00:00.000Z" })]));
    const left = await api.controlPlane.database.selectFrom("usage").selectAll().execute();
    expect(left).toHaveLength(rows.length + 1);
    api.clock.advanceMs(60 * 60 * 1_000);
    await usage.record(NODE, batch(3, [row({ hour: "2027-12-25T12:00:00.000Z" })]));
    expect(await api.controlPlane.database.selectFrom("usage").selectAll().execute()).toHaveLength(
      1,
    );
  });
});

describe("usage of an account: ", () => {
  beforeEach(async () => {
    const other = `${api.tenants.ours.account.id}/${WorkerName.parse("other")}`;
    await usage.record(
      NODE,
      batch(1, [
        row({ requests: 1 }),
        row({ requests: 2, version: V2 }),
        row({ requests: 4, worker: other }),
        row({ requests: 8, hour: "2026-11-20T11:00:00.000Z" }),
        row({ requests: 16, tenant: "theirs" }),
      ]),
    );
  });

  test("is told by worker and version, and of nobody else", async () => {
    expect(await ask()).toMatchObject([
      { worker: "hello", version: V1, requests: 9 },
      { worker: "hello", version: V2, requests: 2 },
      { worker: "other", version: V1, requests: 4 },
    ]);
    expect(await ask("", "theirs")).toMatchObject([{ worker: "hello", requests: 16 }]);
  });

  test.each([
    ["?worker=other", [4]],
    ["?worker=none", []],
    ["?from=2026-11-20T12:00:00Z", [1, 2, 4]],
    ["?from=2026-11-20T12:59:59Z", [1, 2, 4]],
    ["?from=2026-11-20T14:00:00%2B02:00&worker=hello", [1, 2]],
    ["?to=2026-11-20T12:00:00Z", [8]],
    ["?from=2026-11-20T11:00:00Z&to=2026-11-20T11:59:59Z", []],
    ["?to=2026-10-01T00:00:00Z", []],
  ])("%s", async (query, requests) => {
    const found = (await ask(query)) as ReadonlyArray<{ requests: number }>;
    expect(found.map((each) => each.requests)).toEqual(requests);
  });

  test.each([
    "?worker=A/B",
    "?from=yesterday",
    "?from=2026-11-20T12:00:00Z&to=2026-11-20T12:00:00Z",
    "?account=theirs",
  ])("%s is refused", async (query) => {
    const answer = await api.call(`GET A/usage${query}`);
    expect([answer.status, answer.errors[0]?.code]).toEqual([400, 10_001]);
  });
});
