import { join } from "node:path";
import type { Clock } from "@atoll/kv-store";
import { DATABASE_FILE, openSqliteDatabase } from "../database/database.ts";
import { NodesService } from "./service.ts";

/** The nodes of an installation, for commands beside its control plane, which may be running. */
export async function openNodesService(options: {
  readonly dataDirectory: string;
  readonly clock: Clock;
}): Promise<{ readonly nodes: NodesService; readonly close: () => Promise<void> }> {
  const database = await openSqliteDatabase(join(options.dataDirectory, DATABASE_FILE));
  return {
    nodes: new NodesService({ database, clock: options.clock }),
    close: () => database.destroy(),
  };
}
