import {
  WorkerKey,
  type ScheduledEnd,
  type ScheduledEvent,
  type ScheduledRun,
} from "@atoll/control-plane/contract";
import { ManualClock } from "@atoll/kv-store/manual-clock";
import pino from "pino";
import { beforeEach, describe, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import type { CallEnd } from "./scheduled-caller.ts";
import { ScheduledRuns, type RunReceiver } from "./scheduled-runs.ts";

const OK: CallEnd = { outcome: "ok", isFinal: false, wallMs: 5 };

function event(occurrence: string, attempt = 1): ScheduledEvent {
  const worker = WorkerKey.parse(`${"a".repeat(32)}/hello`);
  return { run: { occurrence, attempt }, worker, cron: "* * * * *", scheduledMs: 0 };
}

class Receiver implements RunReceiver {
  readonly told: Array<ReadonlyArray<ScheduledRun>> = [];
  readonly ends: ScheduledEnd[] = [];

  runs(runs: ReadonlyArray<ScheduledRun>): void {
    this.told.push(runs);
  }

  end(end: ScheduledEnd): void {
    this.ends.push(end);
  }
}

let clock: ManualClock;
let calls: Array<PromiseWithResolvers<CallEnd>>;
let runs: ScheduledRuns;
let receiver: Receiver;
beforeEach(() => {
  clock = new ManualClock();
  calls = [];
  receiver = new Receiver();
  runs = new ScheduledRuns({
    caller: {
      call: () => {
        const resolvers = Promise.withResolvers<CallEnd>();
        calls.push(resolvers);
        return resolvers.promise;
      },
    },
    clock,
    log: pino({ level: "silent" }),
  });
});

describe("scheduled runs: ", () => {
  test("a connection begins with what there is, also when that is nothing", () => {
    runs.connected(receiver);
    expect(receiver.told).toEqual([[]]);
  });

  test("an end is told again on each connection until it is acknowledged", async () => {
    runs.connected(receiver);
    runs.start(event("a"));
    calls[0]?.resolve(OK);
    const end = { run: event("a").run, ...OK };
    await expect.poll(() => receiver.ends).toEqual([end]);
    runs.disconnected();
    const second = new Receiver();
    runs.connected(second);
    expect(second).toMatchObject({ told: [[end.run]], ends: [end] });
    runs.acknowledged({ ...end.run, attempt: 2 });
    runs.acknowledged(end.run);
    const third = new Receiver();
    runs.connected(third);
    expect(third).toMatchObject({ told: [[]], ends: [] });
  });

  test("an end while there is no connection is told on the next one", async () => {
    runs.start(event("a"));
    calls[0]?.resolve(OK);
    await calls[0]?.promise;
    runs.connected(receiver);
    expect(receiver.ends).toHaveLength(1);
  });

  test("the same occurrence is run once, whatever comes twice", () => {
    runs.start(event("a"));
    runs.start(event("a"));
    runs.start(event("a", 2));
    expect(calls).toHaveLength(1);
  });

  test("while there is any, what there is is told from time to time", () => {
    runs.connected(receiver);
    clock.advance(LIMITS.scheduledTellMs);
    expect(receiver.told).toHaveLength(1);
    runs.start(event("a"));
    clock.advance(2 * LIMITS.scheduledTellMs);
    expect(receiver.told.slice(1)).toEqual([[event("a").run], [event("a").run]]);
  });

  test("closing waits until all ends are known, and takes nothing more", async () => {
    runs.connected(receiver);
    runs.start(event("a"));
    const closed = runs.close();
    runs.start(event("b"));
    expect(receiver.ends).toMatchObject([{ run: { occurrence: "b" }, outcome: "unavailable" }]);
    runs.acknowledged(event("b").run);
    calls[0]?.resolve(OK);
    await expect.poll(() => receiver.ends).toHaveLength(2);
    runs.acknowledged(event("a").run);
    await closed;
    expect(calls).toHaveLength(1);
  });

  test("closing without a connection waits for nothing", async () => {
    runs.start(event("a"));
    await runs.close();
    await runs.close();
    expect(calls).toHaveLength(1);
  });
});
