import { request } from "undici";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  IS_THOROUGH,
  REGIONS,
  startAtoll,
  type RegionName,
  type TestAtoll,
} from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { KvWorker } from "../support/kv-worker.ts";
import { accountPath } from "../support/refusal.ts";

// What every region promises to show of a write in another one, on a healthy network.
const VISIBLE_MS = 1_000;
const MIB = 1024 * 1024;

let atoll: TestAtoll;
let worker: KvWorker;

beforeAll(async () => {
  atoll = await startAtoll();
  worker = await KvWorker.deploy(atoll, { title: "words" });
  await worker.result("iad", "put", "brief", "v", { expirationTtl: 60 });
  await visible("nrt", "brief", "v");
});
afterAll(() => atoll.stop());

/** Waits, no longer than promised, until a region shows a key's value. */
async function visible(region: RegionName, key: string, value: string | null): Promise<void> {
  await eventually(async () => (await worker.result(region, "get", key)) === value, {
    what: `${region} shows ${key}`,
    deadlineMs: VISIBLE_MS,
  });
}

const others = (region: RegionName): ReadonlyArray<RegionName> =>
  REGIONS.filter((other) => other !== region);

const valuePath = (key: string): string =>
  accountPath(
    atoll,
    `/storage/kv/namespaces/${worker.namespace}/values/${encodeURIComponent(key)}`,
  );

/** Revision of the namespace that a node has applied, as `atoll status --json` tells. */
async function appliedRevision(region: RegionName): Promise<number | undefined> {
  const { body } = await request(`${atoll.url}/console/status`, {
    headers: { authorization: `Bearer ${atoll.variables["CLOUDFLARE_API_TOKEN"]}` },
  });
  const status = (await body.json()) as {
    nodes: ReadonlyArray<{
      name: string;
      kv: ReadonlyArray<{ namespace: string; revision: number }>;
    }>;
  };
  const node = status.nodes.find(({ name }) => name === region);
  return node?.kv.find((row) => row.namespace === worker.namespace)?.revision;
}

test("KV: what one region puts, the others get in every type and by several keys", async () => {
  const bytes = Buffer.from([0, 1, 254, 255]).toString("base64");
  const json = '{"n":[1,"ü"]}';
  await worker.result("iad", "put", "types/json", json, { metadata: { é: ["☃"] } });
  await worker.result("iad", "put", "types/bytes", { $bytes: bytes });
  await worker.result("iad", "put", "types/stream", { $stream: "streamed ".repeat(20_000) });
  await worker.result("iad", "put", "types/large", { $length: MIB }, { metadata: 1 });
  for (const region of others("iad")) {
    await eventually(() => worker.result(region, "get", "types/large", "arrayBuffer"), {
      what: `${region} has the last of them`,
      deadlineMs: VISIBLE_MS,
    });
    expect(await worker.result(region, "get", "types/json")).toBe(json);
    expect(await worker.result(region, "get", "types/json", "json")).toEqual({ n: [1, "ü"] });
    expect(await worker.result(region, "get", "types/json", "stream")).toEqual({ $stream: json });
    expect(await worker.result(region, "get", "types/bytes", { type: "arrayBuffer" })).toEqual({
      $bytes: bytes,
    });
    expect(await worker.result(region, "get", "types/stream")).toBe("streamed ".repeat(20_000));
    expect(await worker.result(region, "get", "types/large", "arrayBuffer")).toEqual({
      $bytes: Buffer.alloc(MIB).toString("base64"),
    });
    expect(await worker.result(region, "getWithMetadata", "types/json", "json")).toMatchObject({
      value: { n: [1, "ü"] },
      metadata: { é: ["☃"] },
    });
    const keys = ["types/json", "types/none"];
    expect(await worker.result(region, "get", keys)).toEqual({
      $map: [
        ["types/json", json],
        ["types/none", null],
      ],
    });
    expect(await worker.result(region, "get", ["types/json"], "json")).toEqual({
      $map: [["types/json", { n: [1, "ü"] }]],
    });
    const described = (await worker.result(region, "getWithMetadata", keys)) as { $map: unknown };
    expect(described.$map).toMatchObject([
      ["types/json", { value: json, metadata: { é: ["☃"] } }],
      ["types/none", null],
    ]);
  }
});

test("KV: listings follow prefix, limit and cursor alike in every region", async () => {
  const names = Array.from({ length: 25 }, (_, index) => `list/${String(index).padStart(2, "0")}`);
  for (const name of names) await worker.result("fra", "put", name, "v", { metadata: { name } });
  await worker.result("fra", "put", "lisu", "v");
  const last = Math.floor(Date.now() / 1_000) + 5_000;
  await worker.result("fra", "put", "list/zz", "v", { expiration: last });
  for (const region of REGIONS) {
    await visible(region, "list/zz", "v");
    const listed: unknown[] = [];
    let cursor: string | undefined;
    do {
      const page = (await worker.result(region, "list", {
        prefix: "list/",
        limit: 10,
        cursor,
      })) as {
        readonly keys: ReadonlyArray<unknown>;
        readonly list_complete: boolean;
        readonly cursor?: string;
      };
      listed.push(...page.keys);
      expect(page.list_complete).toBe(page.cursor === undefined);
      ({ cursor } = page);
    } while (cursor !== undefined);
    expect(listed).toEqual([
      ...names.map((name) => ({ name, metadata: { name } })),
      { name: "list/zz", expiration: last },
    ]);
  }
});

test("KV: a region sees its own writes at once, and the others' within a second", async () => {
  for (let round = 1; round <= 5; round += 1) {
    for (const region of REGIONS) {
      const value = `${region} ${round}`;
      await worker.result(region, "put", "shared", value);
      expect(await worker.result(region, "get", "shared")).toBe(value);
      await Promise.all(others(region).map((other) => visible(other, "shared", value)));
    }
  }
  await worker.result("nrt", "delete", "shared");
  expect(await worker.result("nrt", "get", "shared")).toBeNull();
  await Promise.all(others("nrt").map((other) => visible(other, "shared", null)));
});

test("KV: the API and the regions see each other's writes", async () => {
  const key = "from/the api";
  expect((await atoll.api(valuePath(key), { method: "PUT", body: "by hand" })).status).toBe(200);
  await Promise.all(REGIONS.map((region) => visible(region, key, "by hand")));
  await worker.result("fra", "put", key, "by a worker");
  expect((await atoll.api(valuePath(key))).body).toBe("by a worker");
  expect((await atoll.api(valuePath(key), { method: "DELETE" })).status).toBe(200);
  await Promise.all(REGIONS.map((region) => visible(region, key, null)));

  await atoll.api(valuePath("large by hand"), { method: "PUT", body: "L".repeat(MIB) });
  await Promise.all(REGIONS.map((region) => visible(region, "large by hand", "L".repeat(MIB))));
});

test.each([
  [
    "put",
    ["k".repeat(513), "v"],
    "414 UTF-8 encoded length of 513 exceeds key length limit of 512",
  ],
  ["put", ["", "v"], "Key name cannot be empty"],
  ["put", [".", "v"], '"." is not allowed'],
  ["delete", [".."], '".." is not allowed'],
  ["put", ["bad", { $length: 25 * MIB + 1 }], "413 Value length of 26214401 exceeds limit"],
  ["put", ["bad", "v", { metadata: "m".repeat(1_023) }], "413 Metadata length of 1025 exceeds"],
  ["put", ["bad", "v", { expirationTtl: 59 }], "400 Invalid expiration_ttl of 59"],
  ["put", ["bad", "v", { expiration: 5 }], "400 Invalid expiration of 5"],
  ["get", ["bad", { cacheTtl: 29 }], "400 Invalid cache_ttl of 29"],
  ["list", [{ cursor: "made up" }], '400 Invalid cursor "made up"'],
  ["list", [{ limit: 1_001 }], "400 Invalid key_count_limit of 1001"],
  [
    "get",
    [Array.from({ length: 101 }, (_, index) => `k${index}`)],
    "400 You can request a maximum",
  ],
])(
  "KV: a worker's bad call of %s is refused and changes nothing (%#)",
  async (method, parameters, message) => {
    const before = await worker.result("fra", "list");
    const { error } = await worker.call("fra", method, ...parameters);
    expect(error).toContain(message);
    expect(await worker.result("fra", "list")).toEqual(before);
    expect((await atoll.api(valuePath("bad"))).status).toBe(404);
  },
);

test("KV: a node that is killed while others write catches up when it is back", async () => {
  await worker.result("iad", "put", "before", "kept");
  await visible("fra", "before", "kept");
  const pid = (await atoll.pids())["fra"] ?? 0;
  // Stopped first, so that what follows is written while this node can't apply it.
  process.kill(pid, "SIGSTOP");
  const keys = Array.from({ length: 200 }, (_, index) => `missed/${index}`);
  for (const key of keys) await worker.result("iad", "put", key, `value of ${key}`);
  await worker.result("nrt", "delete", "before");
  process.kill(pid, "SIGKILL");

  await eventually(async () => (await atoll.pids())["fra"] !== pid, {
    what: "fra is started again",
  });
  await eventually(async () => (await worker.result("fra", "get", "before")) === null, {
    what: "fra has caught up",
  });
  const there = await worker.result("iad", "list", { prefix: "missed/" });
  const here = await worker.result("fra", "list", { prefix: "missed/" });
  expect((here as { keys: unknown[] }).keys).toHaveLength(200);
  expect(here).toEqual(there);
  expect(await worker.result("fra", "get", "missed/199")).toBe("value of missed/199");
  await eventually(
    async () => {
      const revisions = await Promise.all(REGIONS.map(appliedRevision));
      return revisions[0] !== undefined && new Set(revisions).size === 1;
    },
    { what: "all nodes tell of the same revision" },
  );
  await worker.result("fra", "put", "after", "written");
  await visible("iad", "after", "written");
});

test("KV: without the control plane reads go on, and writes fail soon, as ones to repeat", async () => {
  await worker.result("iad", "put", "lasting", "still here", { metadata: { m: 1 } });
  for (const region of REGIONS) await visible(region, "lasting", "still here");
  const pid = (await atoll.pids())["control-plane"] ?? 0;
  // Stopped, not killed: `atoll up` would start a killed one again at once.
  process.kill(pid, "SIGSTOP");
  try {
    for (const region of REGIONS) {
      const startedAt = performance.now();
      const { error } = await worker.call(region, "put", "lasting", "changed");
      expect(error).toMatch(/^KV PUT failed: 503 /);
      // Two seconds of silence are noticed, and no write waits longer than its answer may take.
      expect(performance.now() - startedAt).toBeLessThan(12_000);
      expect(await worker.result(region, "get", "lasting")).toBe("still here");
      expect(await worker.result(region, "getWithMetadata", "lasting")).toMatchObject({
        metadata: { m: 1 },
      });
      expect(await worker.result(region, "list", { prefix: "lasting" })).toMatchObject({
        keys: [{ name: "lasting" }],
        list_complete: true,
      });
    }
  } finally {
    process.kill(pid, "SIGCONT");
  }
  for (const region of REGIONS) {
    await eventually(() => worker.result(region, "put", `again/${region}`, "v").then(() => true), {
      what: `${region} writes again`,
    });
  }
});

// Waits for the shortest life that production allows.
test.runIf(IS_THOROUGH)("KV: what expires is gone in every region and for the API", async () => {
  const gone = { deadlineMs: 75_000 };
  await eventually(async () => (await atoll.api(valuePath("brief"))).status === 404, {
    what: "the key of the beginning has expired at the origin",
    ...gone,
  });
  for (const region of REGIONS) {
    await eventually(async () => (await worker.result(region, "get", "brief")) === null, {
      what: `the key of the beginning has expired in ${region}`,
      deadlineMs: VISIBLE_MS,
    });
    expect(await worker.result(region, "list", { prefix: "brief" })).toMatchObject({ keys: [] });
  }
});
