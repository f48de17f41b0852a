import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DISK_ERRORS, FaultyDisk } from "@atoll/kv-store/test-support/faulty-disk";
import { afterEach, expect, test } from "vitest";
import { REGIONS, startAtoll, type RegionName, type TestAtoll } from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { KvWorker } from "../support/kv-worker.ts";
import { readStatus } from "../support/refusal.ts";

const closers: Array<() => Promise<unknown>> = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

/** An Atoll in which the files whose path has `files` in it are on a faulty disk. */
async function startOnFaultyDisk(
  files: string,
): Promise<{ readonly atoll: TestAtoll; readonly worker: KvWorker; readonly disk: FaultyDisk }> {
  const directory = await mkdtemp(join(tmpdir(), "faulty-disk-"));
  closers.push(() => rm(directory, { recursive: true }));
  const disk = await FaultyDisk.create({ directory, files });
  closers.push(() => disk.close());
  const atoll = await startAtoll({ environment: disk.environment });
  closers.push(() => atoll.stop());
  const worker = await KvWorker.deploy(atoll, { title: "words" });
  await worker.result("iad", "put", "before", "1");
  for (const region of REGIONS) await shows(worker, region, ["before", "1"]);
  return { atoll, worker, disk };
}

async function shows(
  worker: KvWorker,
  region: RegionName,
  [key, value]: readonly [string, string],
): Promise<void> {
  await eventually(async () => (await worker.result(region, "get", key)) === value, {
    what: `${region} shows ${key}`,
  });
}

test("KV: while the origin's disk is full or can't be synced, writes are refused as ones to repeat, reads go on, and it comes back by itself", async () => {
  const { atoll, worker, disk } = await startOnFaultyDisk("/control-plane/kv.sqlite");
  const pid = (await atoll.pids())["control-plane"];
  const { ENOSPC, EIO } = DISK_ERRORS;
  let faults = 0;
  for (const orders of [{ writeErrno: ENOSPC }, { syncErrno: EIO }]) {
    await disk.order(orders);
    for (const region of REGIONS) {
      const { error } = await worker.call(region, "put", "during", "2");
      expect(error, region).toMatch(/^KV PUT failed: 500 the commit failed/);
      expect(await worker.result(region, "get", "before")).toBe("1");
    }
    expect(await disk.read("faults")).toBeGreaterThan(faults);
    faults = await disk.read("faults");
    await disk.heal();
    const after = JSON.stringify(orders);
    await worker.result("nrt", "put", "after", after);
    for (const region of REGIONS) await shows(worker, region, ["after", after]);
  }
  // Nobody started it anew.
  expect((await atoll.pids())["control-plane"]).toBe(pid);
});

test("KV: while a node's disk is full it serves what it has, its lag says so, and it follows again by itself", async () => {
  const { atoll, worker, disk } = await startOnFaultyDisk("/nodes/fra/kv/");
  const pid = (await atoll.pids())["fra"];
  await disk.order({ writeErrno: DISK_ERRORS.ENOSPC });
  await worker.result("iad", "put", "during", "2");
  await shows(worker, "nrt", ["during", "2"]);
  expect(await worker.result("fra", "get", "before")).toBe("1");
  expect(await worker.result("fra", "get", "during")).toBeNull();
  // It is durable, and not yet here: never is something older shown in its place.
  await worker.result("fra", "put", "own", "3");
  const { error } = await worker.call("fra", "get", "own");
  expect(error).toMatch(/^KV GET failed: 503 /);
  await shows(worker, "nrt", ["own", "3"]);
  await eventually(async () => (await lagsMs(atoll, "fra")).some((lagMs) => lagMs > 2_000), {
    what: "the lag of fra grows",
  });
  await disk.heal();
  await shows(worker, "fra", ["during", "2"]);
  await shows(worker, "fra", ["own", "3"]);
  expect((await atoll.pids())["fra"]).toBe(pid);
});

test("KV: a node whose store gives up its files after a write that failed starts anew by itself, and follows", async () => {
  const { atoll, worker, disk } = await startOnFaultyDisk("/nodes/fra/kv/replica/data.mdb");
  const pid = (await atoll.pids())["fra"];
  // The page that says where the newest state is.
  await disk.order({ failBelow: 2 * 4_096 });
  await worker.result("iad", "put", "during", "2");
  await eventually(async () => (await disk.read("faults")) > 0, { what: "a write fails" });
  await disk.heal();
  await eventually(async () => (await atoll.pids())["fra"] !== pid, { what: "fra starts anew" });
  await worker.result("nrt", "put", "after", "3");
  for (const [key, value] of [
    ["before", "1"],
    ["during", "2"],
    ["after", "3"],
  ] as const) {
    await shows(worker, "fra", [key, value]);
  }
});

/** How far behind a node is, in each namespace that it follows. */
async function lagsMs(atoll: TestAtoll, region: RegionName): Promise<ReadonlyArray<number>> {
  const { nodes } = await readStatus(atoll);
  const rows = nodes.find(({ name }) => name === region)?.kv ?? [];
  return rows.map(({ lagMs }) => lagMs ?? Infinity);
}
