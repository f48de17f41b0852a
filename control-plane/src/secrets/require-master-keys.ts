import type { Database } from "../database/database.ts";
import { ControlPlaneError } from "../errors.ts";
import { openInstallationKeys, type InstallationKeys } from "./installation-keys.ts";
import type { MasterKeys } from "./master-keys.ts";
import { Rewrapping } from "./rewrapping.ts";

/** Rejected with `secret_unreadable` unless the master keys open all that is sealed in the database. */
export async function requireMasterKeys(
  database: Database,
  keys: MasterKeys,
): Promise<InstallationKeys> {
  const opened = await openInstallationKeys(database, keys);
  const use = await new Rewrapping({ database, keys }).keyUse();
  const missing = [...use.keys()].find((id) => id !== undefined && keys.find(id) === undefined);
  if (missing === undefined) return opened;
  const text = `Secrets of the installation need the master key ${missing}, which is not there`;
  throw new ControlPlaneError("secret_unreadable", text);
}
