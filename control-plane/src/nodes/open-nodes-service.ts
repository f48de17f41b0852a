import type { Clock } from "@atoll/kv-store";
import type { DatabasePlace } from "../database/database.ts";
import { openDatabase } from "../database/open-database.ts";
import { NodesService } from "./service.ts";

/** The nodes of an installation, for commands beside its control plane, which may be running. */
export async function openNodesService(
  options: DatabasePlace & { readonly clock: Clock },
): Promise<{ readonly nodes: NodesService; readonly close: () => Promise<void> }> {
  const database = await openDatabase(options);
  return {
    nodes: new NodesService({ database, clock: options.clock }),
    close: () => database.destroy(),
  };
}
