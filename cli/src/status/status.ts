import { FleetStatus } from "@atoll/control-plane";
import Table from "cli-table3";
import { askControlPlane, inHurry, readAnswer } from "../account-api.ts";
import type { WranglerEnvironment } from "../wrangler-environment.ts";

/** Asks the control plane for the fleet's state. Throws a `UsageError` when it can't be had. */
export async function fetchStatus(variables: WranglerEnvironment): Promise<FleetStatus> {
  const { origin } = new URL(variables.CLOUDFLARE_API_BASE_URL);
  const { CLOUDFLARE_API_TOKEN: token } = variables;
  const response = await askControlPlane(`${origin}/console/status`, token, inHurry());
  return readAnswer(response, (json) => FleetStatus.parse(json));
}

/** The status as people read it. */
export function formatStatus(status: FleetStatus): string {
  const nodes = new Table({
    head: ["node", "region", "state", "revision", "url", "cells", "kv lag"],
    style: { head: [], border: [] },
  });
  for (const node of status.nodes) {
    nodes.push([
      node.name,
      node.region,
      node.connected ? "connected" : "not connected",
      node.revision === status.revision ? node.revision : `${node.revision} of ${status.revision}`,
      node.url ?? "",
      node.cells.length,
      formatLag(node.kv.map((namespace) => namespace.lagMs)),
    ]);
  }
  const failures = status.nodes.flatMap((node) =>
    node.failures.map(
      (failure) =>
        `${node.name}: ${failure.worker} ${failure.version} does not run: ${failure.reason}`,
    ),
  );
  return [
    `revision ${status.revision}`,
    nodes.toString(),
    ...failures,
    ...status.nodes.flatMap(describeRepairs),
    ...status.nodes.flatMap(describeCopies),
    ...status.nodes.flatMap(describeConfinement),
    ...status.nodes.flatMap(describeEnds),
  ].join("\n");
}

const REPAIR_REASONS = {
  damaged: "its disk had changed it",
  "other-history": "the control plane was restored from an older copy",
} as const;

/** Which copies of key-value namespaces a node had to replace, or is replacing. */
function describeRepairs(node: FleetStatus["nodes"][number]): ReadonlyArray<string> {
  return node.kv.flatMap(({ namespace, repairing, repairs, lastRepair }) => {
    const subject = `${node.name}: its copy of KV namespace ${namespace}`;
    if (repairing !== null) return [`${subject} is being replaced: ${REPAIR_REASONS[repairing]}`];
    if (lastRepair === null) return [];
    const times = repairs === 1 ? "once" : `${repairs} times`;
    return [`${subject} was replaced ${times}, last because ${REPAIR_REASONS[lastRepair]}`];
  });
}

/** Which copies of key-value namespaces lack values, or can't follow. */
function describeCopies(node: FleetStatus["nodes"][number]): ReadonlyArray<string> {
  return node.kv.flatMap(({ namespace, extent, isStorageFailing }) => {
    const subject = `${node.name}: its copy of KV namespace ${namespace}`;
    const isWhole = extent === "whole";
    return [
      ...(isWhole ? [] : [`${subject} ${EXTENTS[extent]}`]),
      ...(isStorageFailing ? [`${subject} stays as it is: the node's disk refuses changes`] : []),
    ];
  });
}

const EXTENTS = {
  partial: "is partial: values are fetched when they are read (node --kv-budget)",
  filling: "becomes whole again: its values are being fetched",
} as const;

/** What a node's host can't give to confine cells. */
function describeConfinement(node: FleetStatus["nodes"][number]): ReadonlyArray<string> {
  const shortfalls = node.confinement?.shortfalls ?? [];
  return shortfalls.map((shortfall) => `${node.name}: ${shortfall}`);
}

/** The latest cells that ended as nobody wanted, and how many ended for which reason since the node's start. */
function describeEnds(node: FleetStatus["nodes"][number]): ReadonlyArray<string> {
  const faults = node.cellFaults.map(
    ({ at, workers, reason }) => `${node.name}: ${workers.join(", ")} ended at ${at}: ${reason}`,
  );
  const ends = Object.entries(node.cellEnds).map(([reason, count]) => `${count} ${reason}`);
  return ends.length === 0
    ? faults
    : [...faults, `${node.name}: cells ended since its start: ${ends.join(", ")}`];
}

/** The worst lag of a node's namespaces. */
function formatLag(lagsMs: ReadonlyArray<number | null>): string {
  if (lagsMs.length === 0) return "";
  if (lagsMs.includes(null)) return "unknown";
  return `${Math.round(Math.max(...lagsMs.map((lag) => lag ?? 0)))} ms`;
}
