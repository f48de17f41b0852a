import { existsSync } from "node:fs";
import type { DatabasePlace } from "@atoll/control-plane";
import { requireNotMoved } from "@atoll/control-plane/move-mark";
import { Option } from "commander";
import { parsePostgresUrl } from "./options.ts";
import { UsageError } from "./settings.ts";

/** The option that says that the control plane's database is not in its data folder. */
export function databaseOption(description: string): Option {
  return new Option("--database <url>", description)
    .env("ATOLL_DATABASE")
    .argParser(parsePostgresUrl);
}

/** The same for a command beside a control plane: whoever can read its folder, or database, owns the fleet already. */
export function besideDatabaseOption(): Option {
  return databaseOption("postgres:// address of the control plane's database, when it has one");
}

/** Throws a `UsageError` when there is no control plane's data where a command looks for it. */
export function requirePlace(place: DatabasePlace): void {
  if (place.databaseUrl !== undefined || existsSync(place.dataDirectory)) return;
  throw new UsageError(
    `${place.dataDirectory} does not exist: run this where the control plane runs, with its --data`,
  );
}

/** Throws a `MoveError` when a control plane would use what was moved out of its folder: a database, or blobs. */
export function requirePlaces(
  dataDirectory: string,
  places: { readonly database?: string | undefined; readonly blobStore?: unknown },
): void {
  if (places.database === undefined || places.blobStore === undefined) {
    requireNotMoved(dataDirectory);
  }
}
