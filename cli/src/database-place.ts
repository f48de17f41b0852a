import { existsSync } from "node:fs";
import { join } from "node:path";
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

/**
 * Throws a `UsageError` when there is no control plane's data where a command looks for it. In another folder the
 * command would make a control plane's data, and succeed with that.
 */
export function requirePlace({ dataDirectory, databaseUrl }: DatabasePlace): void {
  if (databaseUrl !== undefined || existsSync(join(dataDirectory, "control-plane.sqlite"))) return;
  const fault = existsSync(dataDirectory)
    ? "is not the data folder of a control plane"
    : "does not exist";
  throw new UsageError(
    `${dataDirectory} ${fault}: run this where the control plane runs, with its --data`,
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
