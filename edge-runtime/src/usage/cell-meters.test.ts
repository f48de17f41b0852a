import { VersionId, type UsageCounts } from "@atoll/control-plane/contract";
import { beforeEach, describe, expect, test } from "vitest";
import type { MeteredCell } from "../cells/cell-meter.ts";
import { LIMITS } from "../limits.ts";
import { CellMeters } from "./cell-meters.ts";
import { addCounts, noCounts, type MutableCounts, type UsageOwner } from "./usage-counts.ts";

const V1 = VersionId.parse("11111111-1111-4111-8111-111111111111");
const V2 = VersionId.parse("22222222-2222-4222-8222-222222222222");

let nowMs: number;
let serving: VersionId | undefined;
let counts: Map<string, MutableCounts>;
let meters: CellMeters;
beforeEach(() => {
  nowMs = 0;
  serving = undefined;
  counts = new Map();
  meters = new CellMeters({
    ledger: { add: (owner, added) => addCounts(entry(owner), added) },
    servingOf: (key) => serving && { worker: key, version: serving },
    clock: { nowMs: () => 0, monotonicMs: () => nowMs, every: () => () => undefined },
  });
});

function entry({ worker, version }: UsageOwner): MutableCounts {
  const key = `${worker} ${version}`;
  const known = counts.get(key) ?? noCounts();
  counts.set(key, known);
  return known;
}

function counted(name: string, version: VersionId): MutableCounts | undefined {
  return counts.get(`${worker(name)} ${version}`);
}

function worker(name: string): string {
  return `${"0".repeat(32)}/${name}`;
}

/** A cell that the test drives; members listen at `/<cell>/<worker>`. */
class Cell {
  cpuNs = 0;
  memoryPeakBytes = 0;
  subrequests = { requests: 0, bytesSent: 0, bytesReceived: 0 };
  #end: () => void = () => undefined;
  readonly #ended = new Promise<void>((resolve) => {
    this.#end = resolve;
  });

  constructor(id: string, members: ReadonlyArray<readonly [string, VersionId]>) {
    const cell: MeteredCell = {
      members: members.map(([name, version]) => ({
        worker: worker(name),
        version,
        socketPath: `/${id}/${name}`,
      })),
      usage: () => ({ cpuNs: this.cpuNs, memoryPeakBytes: this.memoryPeakBytes }),
      subrequests: () => this.subrequests,
      ended: this.#ended,
    };
    meters.follow(cell);
  }

  async end(): Promise<void> {
    this.#end();
    await new Promise(setImmediate);
  }
}

function serve(name: string, socketPath: string | undefined, status = 200): void {
  const measured = { bytesIn: 1, bytesOut: 10, wallMs: 100 };
  meters.onServed({ worker: worker(name), socketPath, status, ...measured });
}

const ONE: Partial<UsageCounts> = { requests: 1, bytesIn: 1, bytesOut: 10, wallMs: 100 };

describe("cell meters: ", () => {
  test("a request counts for the version whose cell had it, whatever serves now", () => {
    void new Cell("old", [["hello", V1]]);
    void new Cell("new", [["hello", V2]]);
    serving = V2;
    serve("hello", "/old/hello");
    serve("hello", "/new/hello", 500);
    serve("hello", undefined, 503);
    serve("hello", "/unknown", 499);
    expect(counted("hello", V1)).toEqual({ ...noCounts(), ...ONE });
    expect(counted("hello", V2)).toEqual({
      ...noCounts(),
      ...{ requests: 3, errors: 2, bytesIn: 3, bytesOut: 30, wallMs: 300 },
    });
  });

  test("a request of a worker that is not run here counts for nobody", () => {
    serve("gone", undefined, 404);
    expect(counts.size).toBe(0);
  });

  test("operations on namespaces count for their caller", () => {
    const owner = { worker: worker("hello"), version: V1 };
    meters.onKvUse(owner, "read", 3);
    meters.onKvUse(owner, "write", 1);
    meters.onKvUse(owner, "delete", 1);
    meters.onKvUse(owner, "list", 1);
    expect(counted("hello", V1)).toEqual({
      ...noCounts(),
      ...{ kvReads: 3, kvWrites: 1, kvDeletes: 1, kvLists: 1 },
    });
  });

  test("what a cell used counts once, as it grows, and to its end", async () => {
    const cell = new Cell("c", [["hello", V1]]);
    cell.cpuNs = 1_999;
    cell.memoryPeakBytes = 50;
    meters.sample();
    meters.sample();
    cell.cpuNs = 5_000_500;
    cell.subrequests = { requests: 2, bytesSent: 20, bytesReceived: 200 };
    meters.sample();
    cell.cpuNs = 6_000_000;
    await cell.end();
    meters.sample();
    expect(counted("hello", V1)).toEqual({
      ...noCounts(),
      ...{ cpuUs: 6_000, memoryPeakBytes: 50 },
      ...{ subrequests: 2, subrequestBytesOut: 20, subrequestBytesIn: 200 },
    });
  });

  test("a cell that does nothing is told nothing of", () => {
    const cell = new Cell("c", [["hello", V1]]);
    cell.memoryPeakBytes = 50;
    meters.sample();
    expect(counts.size).toBe(0);
  });

  test("workers of one cell share what it used by their requests so far, and its peak", () => {
    const cell = new Cell("c", [
      ["front", V1],
      ["back", V2],
    ]);
    cell.cpuNs = 1_000_000;
    cell.memoryPeakBytes = 50;
    meters.sample();
    expect([counted("front", V1)?.cpuUs, counted("back", V2)?.cpuUs]).toEqual([1_000, 0]);
    for (const name of ["front", "back", "back", "back"]) serve(name, `/c/${name}`);
    cell.cpuNs = 5_000_000;
    cell.subrequests = { requests: 8, bytesSent: 0, bytesReceived: 0 };
    meters.sample();
    expect(counted("front", V1)).toMatchObject({
      cpuUs: 2_000,
      subrequests: 2,
      memoryPeakBytes: 50,
    });
    expect(counted("back", V2)).toMatchObject({
      cpuUs: 3_000,
      subrequests: 6,
      memoryPeakBytes: 50,
    });
  });

  test("requests that are told of after their cell's end still find its version", async () => {
    const cell = new Cell("c", [["hello", V1]]);
    serving = V2;
    await cell.end();
    nowMs = LIMITS.lossMemoryMs - 1;
    meters.sample();
    serve("hello", "/c/hello");
    nowMs = LIMITS.lossMemoryMs;
    meters.sample();
    serve("hello", "/c/hello");
    expect(counted("hello", V1)?.requests).toBe(1);
    expect(counted("hello", V2)?.requests).toBe(1);
  });

  test("a cell that never listened is charged for its start", () => {
    meters.follow({
      members: [{ worker: worker("hello"), version: V1 }],
      usage: () => ({ cpuNs: 1_000_000, memoryPeakBytes: 9 }),
      subrequests: () => ({ requests: 0, bytesSent: 0, bytesReceived: 0 }),
      ended: Promise.resolve(),
    });
    meters.sample();
    expect(counted("hello", V1)).toMatchObject({ cpuUs: 1_000, memoryPeakBytes: 9, requests: 0 });
  });
});
