import { FleetStatus } from "@atoll/control-plane";
import { expect, test } from "vitest";
import { formatStatus } from "./status.ts";

const NODE = {
  name: "fra",
  region: "fra",
  url: "http://127.0.0.1:4402",
  revision: 7,
  connected: true,
  failures: [],
  cells: [],
  kv: [],
  cellFaults: [],
  cellEnds: {},
};

function shown(node: Partial<FleetStatus["nodes"][number]>): string {
  return formatStatus(
    FleetStatus.parse({ revision: 7, workers: [], nodes: [{ ...NODE, ...node }] }),
  );
}

test("status: shows which cells ended as nobody wanted, and how many for which reason", () => {
  const text = shown({
    cellFaults: [{ at: "2026-11-26T10:00:00.000Z", workers: ["shop"], reason: "exceededMemory" }],
    cellEnds: { idle: 12, exceededMemory: 1 },
  });
  expect(text).toContain("fra: shop ended at 2026-11-26T10:00:00.000Z: exceededMemory");
  expect(text).toContain("fra: cells ended since its start: 12 idle, 1 exceededMemory");
});

test("status: says nothing of ends where there were none", () => {
  expect(shown({})).not.toContain("ended");
});

const NAMESPACE = "a".repeat(32);

function replica(
  kv: Partial<FleetStatus["nodes"][number]["kv"][number]>,
): Partial<FleetStatus["nodes"][number]> {
  const place = { namespace: NAMESPACE, revision: 3, lagMs: 12 };
  const soundness = { repairing: null, repairs: 0, lastRepair: null, digest: null } as const;
  const whole = { extent: "whole", bytes: 1_000, isStorageFailing: false } as const;
  return { kv: [{ ...place, ...soundness, ...whole, ...kv }] };
}

test("status: a node's copies of namespaces that were replaced are told of, with the reason", () => {
  const copy = `fra: its copy of KV namespace ${NAMESPACE}`;
  expect(shown(replica({}))).not.toContain("copy");
  expect(shown(replica({ repairs: 1, lastRepair: "other-history" }))).toContain(
    `${copy} was replaced once, last because the control plane was restored from an older copy`,
  );
  expect(shown(replica({ repairs: 2, lastRepair: "damaged" }))).toContain(
    `${copy} was replaced 2 times, last because its disk had changed it`,
  );
  expect(shown(replica({ repairing: "damaged" }))).toContain(
    `${copy} is being replaced: its disk had changed it`,
  );
});

test("status: a node's copies that lack values, or can't follow, are told of", () => {
  const copy = `fra: its copy of KV namespace ${NAMESPACE}`;
  expect(shown(replica({ extent: "partial" }))).toContain(
    `${copy} is partial: values are fetched when they are read`,
  );
  expect(shown(replica({ extent: "filling" }))).toContain(`${copy} becomes whole again`);
  expect(shown(replica({ isStorageFailing: true }))).toContain(
    `${copy} stays as it is: the node's disk refuses changes`,
  );
});
