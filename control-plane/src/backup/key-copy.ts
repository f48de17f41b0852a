import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import SqliteDatabase from "better-sqlite3";
import { DATABASE_FILE } from "../database/open-database.ts";
import { MASTER_KEY_FILE, MasterKeys } from "../secrets/master-keys.ts";
import { masterKeyIdOf } from "../secrets/sealing.ts";
import { copyDurably } from "./durable-copy.ts";

/**
 * Copies a folder's file of master keys to where its database was just copied. Leaves it out when there is none, and when
 * it does not open what is sealed in that copy: the control plane runs with `ATOLL_MASTER_KEY` then, the file is left
 * from before, and who restores must not take it for the key. To be called before a rotation can replace it twice.
 */
export async function copyMasterKeys(from: string, to: string): Promise<void> {
  const file = join(from, MASTER_KEY_FILE);
  if (!existsSync(file)) return;
  const copy = join(to, MASTER_KEY_FILE);
  await copyDurably(file, copy);
  const keys = await MasterKeys.load({ file: copy, fromEnvironment: undefined });
  const isTheirs = keyIdsIn(join(to, DATABASE_FILE)).every((id) => keys.find(id) !== undefined);
  if (!isTheirs) await rm(copy);
}

/** The master keys that the installation's own keys are sealed under. */
function keyIdsIn(path: string): ReadonlyArray<string> {
  const database = new SqliteDatabase(path, { readonly: true, fileMustExist: true });
  try {
    const tables = database.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'installation_keys'");
    // An earlier version made those keys from the master key each time, and says nowhere which one that is.
    if (tables.get() === undefined) return [];
    const sealed = database.prepare<[], string>("SELECT sealed FROM installation_keys").pluck();
    return sealed.all().flatMap((text) => masterKeyIdOf(text) ?? []);
  } finally {
    database.close();
  }
}
