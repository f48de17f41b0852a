import { readFile } from "node:fs/promises";
import {
  CELL_FAULTS,
  CELL_STOPS,
  type CellEndReason,
  WorkerKey,
} from "@atoll/control-plane/contract";
import { expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { NodeMetrics, type NodeReadings } from "./node-metrics.ts";

const SOUND = {
  repairing: null,
  repairs: 0,
  lastRepair: null,
  digest: null,
  extent: "whole",
  bytes: 4_096,
  isStorageFailing: false,
} as const;
const READINGS: NodeReadings = {
  cells: { warm: 3, draining: 1, waiting: 7 },
  zygotes: 2,
  ingress: { requests: 10, errors: 4, openConnections: 5, inFlight: 6, restarts: 8 },
  kv: [
    { namespace: "aa", revision: 12, lagMs: 250, ...SOUND },
    {
      namespace: "bb",
      revision: 0,
      lagMs: null,
      ...SOUND,
      extent: "partial",
      isStorageFailing: true,
    },
  ],
  usageBatchesPending: 9,
  link: { isConnected: true, revision: 11 },
};

const EXIT = { code: 0, signal: null, stderrTail: "", usage: { cpuNs: 0, memoryPeakBytes: 0 } };

function end(metrics: NodeMetrics, reason: CellEndReason, pid?: number): void {
  const listened = pid === undefined ? {} : { pid };
  metrics.cellEnded({ atMs: 0, members: [], reason, ...listened, exit: EXIT });
}

function serve(metrics: NodeMetrics, status: number): void {
  const worker = WorkerKey.parse(`${"0".repeat(32)}/worker`);
  metrics.served({ worker, socketPath: undefined, status, bytesIn: 0, bytesOut: 0, wallMs: 1 });
}

test("metrics: tell what was counted and what was read", async () => {
  const metrics = new NodeMetrics();
  metrics.cellStarted({ pid: 1, members: [], startMs: 15 });
  end(metrics, "exceededMemory", 1);
  end(metrics, "startFailed");
  for (const status of [101, 200, 204, 499, 503]) serve(metrics, status);
  const lines = (await metrics.text(READINGS)).split("\n");
  for (const line of [
    'atoll_cell_starts_total{result="started"} 1',
    'atoll_cell_starts_total{result="failed"} 1',
    'atoll_cell_start_seconds_bucket{le="0.01"} 0',
    'atoll_cell_start_seconds_bucket{le="0.02"} 1',
    "atoll_cell_start_seconds_count 1",
    'atoll_cell_ends_total{reason="exceeded_memory"} 1',
    'atoll_cell_ends_total{reason="start_failed"} 1',
    'atoll_cell_ends_total{reason="exceeded_cpu"} 0',
    'atoll_cells{state="warm"} 3',
    'atoll_cells{state="draining"} 1',
    "atoll_zygotes 2",
    "atoll_activations_waiting 7",
    'atoll_requests_total{status="1xx"} 1',
    'atoll_requests_total{status="2xx"} 2',
    'atoll_requests_total{status="3xx"} 0',
    'atoll_requests_total{status="4xx"} 1',
    'atoll_requests_total{status="5xx"} 1',
    "atoll_quota_refusals_total 0",
    "atoll_requests_in_flight 6",
    "atoll_client_connections 5",
    "atoll_ingress_errors_total 4",
    "atoll_ingress_restarts_total 8",
    'atoll_kv_namespaces{freshness="known"} 1',
    'atoll_kv_namespaces{freshness="unknown"} 1',
    'atoll_kv_lag_seconds{namespace="aa"} 0.25',
    'atoll_kv_revision{namespace="aa"} 12',
    'atoll_kv_revision{namespace="bb"} 0',
    'atoll_kv_disk_bytes{namespace="aa"} 4096',
    'atoll_kv_copies{extent="whole"} 1',
    'atoll_kv_copies{extent="partial"} 1',
    'atoll_kv_copies{extent="filling"} 0',
    "atoll_kv_storage_failing 1",
    "atoll_usage_batches_pending 9",
    "atoll_link_connected 1",
    "atoll_state_revision 11",
  ]) {
    expect(lines).toContain(line);
  }
});

test("metrics: what is gone is not told of, and counts go on", async () => {
  const metrics = new NodeMetrics();
  serve(metrics, 200);
  await metrics.text(READINGS);
  serve(metrics, 200);
  const measured = { status: 429, bytesIn: 0, bytesOut: 0, wallMs: 0 };
  metrics.served({ worker: "a/b", socketPath: undefined, ...measured, isRefused: true });
  const link = { isConnected: false, revision: 11 };
  const text = await metrics.text({ ...READINGS, kv: [], link });
  expect(text).toContain('atoll_requests_total{status="2xx"} 2\n');
  expect(text).toContain("atoll_quota_refusals_total 1\n");
  expect(text).toContain("atoll_ingress_errors_total 4\n");
  expect(text).toContain("atoll_link_connected 0\n");
  expect(text).not.toContain('namespace="aa"');
});

test.each([-1, 0, 1])(
  "metrics: of %d namespaces more than the limit, those up to it are told of",
  async (more) => {
    const kv = Array.from({ length: LIMITS.metricsNamespacesMax + more }, (_, index) => ({
      namespace: String(index).padStart(4, "0"),
      revision: 1,
      lagMs: 0,
      ...SOUND,
    }));
    const text = await new NodeMetrics().text({ ...READINGS, kv: kv.toReversed() });
    const told = text.match(/^atoll_kv_revision\{/gm)?.length;
    expect(told).toBe(Math.min(kv.length, LIMITS.metricsNamespacesMax));
    expect(text).toContain('atoll_kv_revision{namespace="0000"}');
    expect(text).toContain(`atoll_kv_namespaces{freshness="known"} ${kv.length}`);
  },
);

test("metrics: the document lists each with its type, and each reason", async () => {
  const document = await readFile(new URL("../../../docs/metrics.md", import.meta.url), "utf8");
  const [metricsPart = "", reasonsPart = ""] = document.split("## Reasons");
  const rows = [...metricsPart.matchAll(/^\| `(\w+)` \| (\w+) \|/gm)];
  const text = await new NodeMetrics().text(READINGS);
  const types = [...text.matchAll(/^# TYPE (\w+) (\w+)$/gm)];
  expect(rows.map(([, name, type]) => `${name} ${type}`)).toEqual(
    types.map(([, name, type]) => `${name} ${type}`),
  );
  const told = [...text.matchAll(/^atoll_cell_ends_total\{reason="(\w+)"\}/gm)];
  const reasons = [...reasonsPart.matchAll(/^\| `(\w+)` \| (yes|no) \|/gm)];
  expect(reasons.map(([, reason]) => reason)).toEqual(told.map(([, reason]) => reason));
  expect(reasons.filter(([, , fault]) => fault === "yes")).toHaveLength(CELL_FAULTS.length);
  expect(reasons).toHaveLength(CELL_FAULTS.length + CELL_STOPS.length);
});
