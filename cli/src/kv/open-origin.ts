import { join } from "node:path";
import { requireNotMoved } from "@atoll/control-plane/move-mark";
import { makePrivate } from "@atoll/control-plane/private-file";
import {
  DEFAULT_HORIZON,
  SqliteOrigin,
  systemClock,
  type Log,
  type LogHorizon,
  type ManagedOrigin,
} from "@atoll/kv-store";

/** The file of keys and values in a control plane's data folder, when they are not in a database. */
export function kvFile(dataDirectory: string): string {
  return join(dataDirectory, "kv.sqlite");
}

/**
 * Opens the store of keys and values: the database at `url`, else the file in the data folder. Rejected with a
 * `MoveError` when that was moved elsewhere.
 */
export async function openKvOrigin(options: {
  readonly dataDirectory: string;
  readonly url: string | undefined;
  readonly horizon?: LogHorizon;
  readonly log: Log;
}): Promise<ManagedOrigin> {
  const { dataDirectory, url, horizon = DEFAULT_HORIZON, log } = options;
  const shared = { horizon, clock: systemClock, log };
  if (url === undefined) {
    requireNotMoved(dataDirectory);
    const path = kvFile(dataDirectory);
    makePrivate(path);
    return SqliteOrigin.open({ path, ...shared });
  }
  // Loaded only here: its client is of no use to anybody else.
  const { PostgresOrigin } = await import("@atoll/kv-store/postgres");
  return PostgresOrigin.open({ url, ...shared });
}
