import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  USAGE_BATCH_ROWS_MAX,
  UsageBatch,
  VersionId,
  type UsageCounts,
} from "@atoll/control-plane/contract";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { BatchFiles } from "./batch-files.ts";
import { noCounts, type UsageOwner } from "./usage-counts.ts";
import { UsageLedger } from "./usage-ledger.ts";

const VERSION = VersionId.parse("11111111-1111-4111-8111-111111111111");
const HOUR = "2026-11-20T12:00:00.000Z";
const NEXT_HOUR = "2026-11-20T13:00:00.000Z";

let directory: string;
let nowMs: number;
let told: Array<Readonly<Record<string, unknown>>>;
let ledger: UsageLedger;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "ledger-"));
  nowMs = Date.parse("2026-11-20T12:59:00.000Z");
  told = [];
  ledger = await open();
});
afterEach(() => rm(directory, { recursive: true, force: true }));

/** Opens what is on disk, as after a crash: what the one before held in memory is gone. */
function open(): Promise<UsageLedger> {
  const log = pino({ level: "info" }, { write: (line) => void told.push(JSON.parse(line)) });
  const clock = { nowMs: () => nowMs, monotonicMs: () => 0, every: () => () => undefined };
  return UsageLedger.open({ files: new BatchFiles({ directory, log }), clock, log });
}

function owner(name = "hello"): UsageOwner {
  return { worker: `${"0".repeat(32)}/${name}`, version: VERSION };
}

function row(counts: Partial<UsageCounts>, name = "hello", hour = HOUR): object {
  return { ...noCounts(), ...owner(name), isStatic: false, hour, ...counts };
}

/** What the control plane has: as it is told in `control-plane/src/usage`. */
class Receiver {
  last = 0;
  requests = 0;

  /** Takes a batch in, or not when it has it; returns what it acknowledges. */
  take(batch: UsageBatch | undefined): number {
    if (batch === undefined) return this.last;
    const { sequence, rows } = UsageBatch.parse(batch);
    if (sequence <= this.last) return this.last;
    this.last = sequence;
    for (const { requests } of rows) this.requests += requests;
    return sequence;
  }

  /** Takes everything that waits. */
  async drain(from: UsageLedger): Promise<void> {
    for (let batch = await from.oldest(); batch !== undefined; batch = await from.oldest()) {
      await from.acknowledge(this.take(batch));
    }
  }
}

describe("usage ledger: ", () => {
  test("what was counted is one batch by worker, version and hour, and gone once acknowledged", async () => {
    expect(await ledger.oldest()).toBeUndefined();
    ledger.add(owner(), { requests: 1, memoryPeakBytes: 7 });
    ledger.add(owner(), { requests: 1, errors: 1, memoryPeakBytes: 5 });
    ledger.add(owner("other"), { kvReads: 3 });
    expect(await ledger.oldest()).toBeUndefined();
    await ledger.seal();
    expect(await ledger.oldest()).toEqual({
      sequence: 1,
      rows: [row({ requests: 2, errors: 1, memoryPeakBytes: 7 }), row({ kvReads: 3 }, "other")],
    });
    await ledger.acknowledge(1);
    expect(await ledger.oldest()).toBeUndefined();
    await ledger.seal();
    expect(await ledger.oldest()).toBeUndefined();
  });

  test("what was sealed survives a crash, what was not does not", async () => {
    ledger.add(owner(), { requests: 1 });
    await ledger.seal();
    ledger.add(owner(), { requests: 10 });
    const next = await open();
    expect(await next.oldest()).toEqual({ sequence: 1, rows: [row({ requests: 1 })] });
  });

  test("a batch whose acknowledgement was lost is sent again as it was, also after a crash", async () => {
    ledger.add(owner(), { requests: 1 });
    await ledger.seal();
    const sent = await ledger.oldest();
    ledger.add(owner(), { requests: 10 });
    await ledger.seal();
    expect(await ledger.oldest()).toEqual(sent);
    const next = await open();
    next.add(owner(), { requests: 100 });
    await next.seal();
    expect(await next.oldest()).toEqual(sent);
    await next.acknowledge(1);
    expect(await next.oldest()).toEqual({ sequence: 2, rows: [row({ requests: 10 })] });
    await next.acknowledge(2);
    expect(await next.oldest()).toEqual({ sequence: 3, rows: [row({ requests: 100 })] });
  });

  test("numbers go on after a restart with nothing left to send", async () => {
    for (const sequence of [1, 2]) {
      ledger.add(owner(), { requests: 1 });
      await ledger.seal();
      expect((await ledger.oldest())?.sequence).toBe(sequence);
      await ledger.acknowledge(sequence);
    }
    expect(await readdir(directory)).toEqual(["0000000000000002.done"]);
    const next = await open();
    expect(await next.oldest()).toBeUndefined();
    next.add(owner(), { requests: 1 });
    await next.seal();
    expect((await next.oldest())?.sequence).toBe(3);
  });

  test("what was never sent takes in what follows, hour by hour", async () => {
    for (let count = 0; count < 100; count += 1) {
      ledger.add(owner(), { requests: 1 });
      await ledger.seal();
      if (count === 49) nowMs += 60_000;
    }
    expect(await readdir(directory)).toHaveLength(1);
    expect(await ledger.oldest()).toEqual({
      sequence: 1,
      rows: [row({ requests: 50 }), row({ requests: 50 }, "hello", NEXT_HOUR)],
    });
  });

  test("a batch that is full is followed by another, and each version stays in its own", async () => {
    const names = Array.from({ length: USAGE_BATCH_ROWS_MAX + 1 }, (_, index) => `w${index}`);
    for (let turn = 0; turn < 2; turn += 1) {
      for (const name of names) ledger.add(owner(name), { requests: 1 });
      await ledger.seal();
    }
    expect(await readdir(directory)).toHaveLength(2);
    const receiver = new Receiver();
    await receiver.drain(ledger);
    expect(receiver).toMatchObject({ last: 2, requests: 2 * names.length });
  });

  test("counts each request once whatever is lost, repeated or killed on the way", async () => {
    const receiver = new Receiver();
    let counted = 0;
    // A fixed sequence that meets every pair of events.
    for (let turn = 0; turn < 300; turn += 1) {
      ledger.add(owner(`w${turn % 3}`), { requests: 1 });
      await ledger.seal();
      counted += 1;
      const event = (turn * turn + turn) % 7;
      const batch = event < 5 ? await ledger.oldest() : undefined;
      const acknowledged = event < 4 ? receiver.take(batch) : receiver.last;
      if (event === 1) receiver.take(batch);
      if (event < 3) await ledger.acknowledge(acknowledged);
      if (event === 2 || event === 3 || event === 5) ledger = await open();
      if (turn % 50 === 0) nowMs += 60 * 60 * 1_000;
    }
    await receiver.drain(ledger);
    expect(receiver.requests).toBe(counted);
  });

  test("what can't be written is kept, sent to nobody, and written later", async () => {
    await rm(directory, { recursive: true });
    ledger.add(owner(), { requests: 1 });
    await ledger.seal();
    expect(await ledger.oldest()).toBeUndefined();
    expect(told).toMatchObject([{ sequence: 1 }]);
    await open();
    ledger.add(owner(), { requests: 1 });
    await ledger.seal();
    expect(await ledger.oldest()).toEqual({ sequence: 1, rows: [row({ requests: 2 })] });
  });

  test("a damaged batch is set aside, and its number is not given again", async () => {
    ledger.add(owner(), { requests: 1 });
    await ledger.seal();
    const [name = ""] = await readdir(directory);
    const content = await readFile(join(directory, name));
    content[content.length - 1] = 0xff;
    await writeFile(join(directory, name), content);
    await writeFile(
      join(directory, "0000000000000002.batch.1234.tmp"),
      "a write that was broken off",
    );
    const next = await open();
    expect(await next.oldest()).toBeUndefined();
    expect(await readdir(directory)).toEqual(["0000000000000001.damaged"]);
    next.add(owner(), { requests: 1 });
    await next.seal();
    expect((await next.oldest())?.sequence).toBe(2);
  });

  test("numbers that the control plane has seen already are not given again", async () => {
    await ledger.acknowledge(40);
    ledger.add(owner(), { requests: 1 });
    await ledger.seal();
    expect((await ledger.oldest())?.sequence).toBe(41);
    expect(told).toMatchObject([{ sequence: 40, last: 0 }]);
  });

  test("too many batches: the oldest are given up, and that is said", async () => {
    const files = new BatchFiles({ directory, log: pino({ level: "silent" }) });
    for (let sequence = 1; sequence <= LIMITS.usageBatchesMax; sequence += 1) {
      await files.write(UsageBatch.parse({ sequence, rows: [row({ requests: 3 })] }));
    }
    ledger = await open();
    await ledger.seal();
    expect((await ledger.oldest())?.sequence).toBe(1);
    ledger.add(owner(), { requests: 1 });
    await ledger.seal();
    expect(told).toMatchObject([{ batches: 1, requests: 3 }]);
    expect((await ledger.oldest())?.sequence).toBe(2);
    expect(await readdir(directory)).toHaveLength(LIMITS.usageBatchesMax + 1);
  });
});
