import { z } from "zod";
import {
  CellFault,
  CellStatus,
  ConfinementStatus,
  KvStatus,
  WorkerFailure,
} from "../contract/index.ts";
import type { DesiredState } from "../desired-state/desired-state.ts";
import type { NodesService } from "../nodes/service.ts";
import { EMPTY_REPORT, type FleetRegistry } from "./fleet-registry.ts";

/** The fleet's state, as `atoll status --json` prints it. */
export const FleetStatus = z.object({
  /** The newest revision of the desired state: a node that shows another one is on its way there. */
  revision: z.number().int(),
  workers: z.array(
    z.object({
      name: z.string(),
      version: z.string(),
      createdAt: z.string(),
      /** Every pattern that leads to it, its own hostname's included. */
      routes: z.array(z.string()),
    }),
  ),
  nodes: z.array(
    z.object({
      name: z.string(),
      region: z.string(),
      /** Where it serves; absent before its first connection. */
      url: z.string().optional(),
      revision: z.number().int(),
      connected: z.boolean(),
      failures: z.array(WorkerFailure),
      cells: z.array(CellStatus),
      kv: z.array(KvStatus),
      /** The latest ends of cells that nobody wanted, newest last. */
      cellFaults: z.array(CellFault),
      /** How many cells ended since the node's start, by reason. */
      cellEnds: z.record(z.string(), z.number().int()),
      /** Absent until the node has told. */
      confinement: ConfinementStatus.optional(),
    }),
  ),
});
export type FleetStatus = z.infer<typeof FleetStatus>;

/** Every enrolled node, connected or not, sorted by name. */
export async function readFleetStatus(parts: {
  readonly desiredState: DesiredState;
  readonly nodes: NodesService;
  readonly registry: FleetRegistry;
}): Promise<FleetStatus> {
  const enrolled = await parts.nodes.list();
  const nodes = enrolled.map(({ name, region }) => {
    const known = parts.registry.get(name);
    return {
      name,
      region,
      ...(known?.ingressUrl === undefined ? {} : { url: known.ingressUrl }),
      revision: known?.revision ?? 0,
      connected: known?.connected ?? false,
      failures: [...(known?.failures ?? [])],
      ...(known?.report ?? EMPTY_REPORT),
    };
  });
  nodes.sort((left, right) => left.name.localeCompare(right.name));
  const summaries = await parts.desiredState.summaries();
  const workers = summaries.map((worker) => ({ ...worker, routes: [...worker.routes] }));
  return { revision: await parts.desiredState.revision(), workers, nodes };
}
