import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { VersionId, type UsageBatch } from "@atoll/control-plane/contract";
import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { NodeUsage } from "./node-usage.ts";

const VERSION = VersionId.parse("11111111-1111-4111-8111-111111111111");
const WORKER = `${"0".repeat(32)}/hello`;

let directory: string;
let usage: NodeUsage;
let tick: () => void;
let sent: UsageBatch[];
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "node-usage-"));
  sent = [];
  usage = await open();
});
afterEach(async () => {
  await usage.close();
  await rm(directory, { recursive: true });
});

function open(): Promise<NodeUsage> {
  return NodeUsage.open({
    directory,
    servingOf: () => ({ worker: WORKER, version: VERSION }),
    charged: { count: () => undefined, save: async () => undefined },
    clock: {
      nowMs: () => 0,
      monotonicMs: () => 0,
      every: (_, callback) => {
        tick = callback;
        return () => undefined;
      },
    },
    log: pino({ level: "silent" }),
  });
}

function connect(): void {
  usage.connected((batch) => sent.push(batch));
}

function serve(): void {
  const measured = { status: 200, bytesIn: 0, bytesOut: 0, wallMs: 1 };
  usage.meters.onServed({ worker: WORKER, socketPath: undefined, ...measured });
}

/** Numbers of the batches that were sent, once there are at least so many. */
async function sentOf(count: number): Promise<ReadonlyArray<number>> {
  await waitFor(() => expect(sent.length).toBeGreaterThanOrEqual(count));
  return sent.map(({ sequence }) => sequence);
}

/** Waits until the disk holds these batches, and for all that needs no disk to happen. */
async function settled(...names: ReadonlyArray<string>): Promise<void> {
  const files = names.map((name) => "0".repeat(15) + name);
  await waitFor(async () => expect((await readdir(directory)).toSorted()).toEqual(files));
  for (let turn = 0; turn < 10; turn += 1) await new Promise(setImmediate);
}

describe("node usage: ", () => {
  test("what was counted is sent at the next tick, and the rest when that is acknowledged", async () => {
    connect();
    serve();
    tick();
    expect(await sentOf(1)).toEqual([1]);
    serve();
    tick();
    await settled("1.batch", "2.batch");
    expect(await sentOf(1)).toEqual([1]);
    usage.acknowledged(1);
    expect(await sentOf(2)).toEqual([1, 2]);
    expect(sent.map(({ rows }) => rows[0]?.requests)).toEqual([1, 1]);
    usage.acknowledged(2);
    await settled("2.done");
    expect(await sentOf(2)).toEqual([1, 2]);
  });

  test("what has no answer when the connection ends is sent over the next one, as it was", async () => {
    connect();
    serve();
    tick();
    expect(await sentOf(1)).toEqual([1]);
    usage.disconnected();
    serve();
    tick();
    await settled("1.batch", "2.batch");
    connect();
    expect(await sentOf(2)).toEqual([1, 1]);
    expect(sent[1]).toEqual(sent[0]);
    usage.acknowledged(1);
    expect(await sentOf(3)).toEqual([1, 1, 2]);
  });

  test("an answer that takes nothing off is not followed by another try before the next tick", async () => {
    connect();
    serve();
    tick();
    expect(await sentOf(1)).toEqual([1]);
    usage.acknowledged(0);
    await settled("1.batch");
    expect(await sentOf(1)).toEqual([1]);
    tick();
    expect(await sentOf(2)).toEqual([1, 1]);
  });

  test("closing seals the rest for the next run", async () => {
    serve();
    await usage.close();
    usage = await open();
    connect();
    expect(await sentOf(1)).toEqual([1]);
    expect(sent[0]?.rows).toMatchObject([{ worker: WORKER, version: VERSION, requests: 1 }]);
  });
});
