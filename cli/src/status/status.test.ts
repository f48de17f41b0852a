import type { FleetStatus } from "@atoll/control-plane";
import { expect, test } from "vitest";
import { formatStatus } from "./status.ts";

const NAMESPACE = "a".repeat(32);

function statusWith(kv: Partial<FleetStatus["nodes"][number]["kv"][number]>): FleetStatus {
  const place = { namespace: NAMESPACE, revision: 3, lagMs: 12 };
  const soundness = { repairing: null, repairs: 0, lastRepair: null } as const;
  const node = {
    ...{ name: "n1", region: "fra", revision: 1, url: "http://127.0.0.1:4402" },
    ...{ connected: true, failures: [], cells: [], limitEvents: [] },
    kv: [{ ...place, ...soundness, ...kv }],
  };
  return { revision: 1, workers: [], nodes: [node] };
}

test("status: a node's copies of namespaces that were replaced are told of, with the reason", () => {
  const copy = `n1: its copy of KV namespace ${NAMESPACE}`;
  expect(formatStatus(statusWith({}))).not.toContain("copy");
  expect(formatStatus(statusWith({ repairs: 1, lastRepair: "other-history" }))).toContain(
    `${copy} was replaced once, last because the control plane was restored from an older copy`,
  );
  expect(formatStatus(statusWith({ repairs: 2, lastRepair: "damaged" }))).toContain(
    `${copy} was replaced 2 times, last because its disk had changed it`,
  );
  expect(formatStatus(statusWith({ repairing: "damaged" }))).toContain(
    `${copy} is being replaced: its disk had changed it`,
  );
});
