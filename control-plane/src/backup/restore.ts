import { existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Database } from "../database/database.ts";
import { DATABASE_FILE } from "../database/open-database.ts";
import { openSqliteDatabase } from "../database/sqlite-database.ts";
import { restartRevision } from "../desired-state/mutations.ts";
import { MASTER_KEY_FILE, MasterKeys } from "../secrets/master-keys.ts";
import { requireMasterKeys } from "../secrets/require-master-keys.ts";
import { asBackupError, BackupError } from "./backup-error.ts";
import { ContentStores, KV_FILE, readContents } from "./contents.ts";
import { sync } from "../durable-path.ts";
import { copyDurably, requireFree } from "./durable-copy.ts";
import { fileHash, readManifest, type BackupManifest } from "./manifest.ts";
import { faultsOf } from "./snapshot.ts";

export interface RestoreBackupOptions {
  readonly from: string;
  /** Where the control plane's data shall be: not there yet, or empty. */
  readonly dataDirectory: string;
  /** `ATOLL_MASTER_KEY`, when the control plane is run with it. */
  readonly masterKey: string | undefined;
  readonly now: Date;
}

/** What was restored. */
export interface RestoredBackup extends BackupManifest {
  /** Of the desired state from here on: above all that nodes have seen. */
  readonly restoredRevision: number;
}

/**
 * Makes a control plane's data directory from a backup. Resolves when all of it was verified and is on disk.
 * Rejected with a `BackupError`; then nothing is there.
 */
export async function restoreBackup(options: RestoreBackupOptions): Promise<RestoredBackup> {
  const { from, dataDirectory } = options;
  const manifest = await readManifest(from);
  await requireFree(dataDirectory, {
    whenTaken: "a restore replaces nothing. Stop the control plane and move the folder away",
  });
  await verifyFiles(from, manifest);
  const building = `${dataDirectory}.restoring`;
  try {
    // What is left of an attempt that was killed.
    await rm(building, { recursive: true, force: true });
    await mkdir(building, { recursive: true, mode: 0o700 });
    for (const name of Object.keys(manifest.files)) {
      await copyDurably(join(from, name), join(building, name));
    }
    const [backup, restored] = [ContentStores.in(from), ContentStores.in(building)];
    await backup.copyTo(restored, await readContents(building, backup.blobs));
    const restoredRevision = await prepare(building, options);
    for (const name of [DATABASE_FILE, KV_FILE]) await sync(join(building, name));
    await sync(building);
    await rename(building, dataDirectory);
    await sync(dirname(dataDirectory));
    return { ...manifest, restoredRevision };
  } catch (error) {
    await rm(building, { recursive: true, force: true });
    throw asBackupError(error);
  }
}

async function verifyFiles(from: string, { files }: BackupManifest): Promise<void> {
  for (const name of [DATABASE_FILE, KV_FILE]) {
    if (files[name] === undefined) throw new BackupError(`The backup has no ${name}`);
  }
  for (const [name, expected] of Object.entries(files)) {
    if (!FILES.has(name))
      throw new BackupError(`The backup has a file '${name}', which is none of it`);
    const actual = await fileHash(join(from, name)).catch((cause: unknown) => {
      throw new BackupError(`${name} of the backup can't be read`, { cause });
    });
    if (actual !== expected) throw new BackupError(`${name} of the backup is damaged`);
  }
}

const FILES: ReadonlySet<string> = new Set([DATABASE_FILE, KV_FILE, MASTER_KEY_FILE]);

/** Returns the revision from which the desired state goes on. */
async function prepare(building: string, options: RestoreBackupOptions): Promise<number> {
  for (const name of [DATABASE_FILE, KV_FILE]) {
    const [fault] = faultsOf(join(building, name));
    if (fault !== undefined) throw new BackupError(`${name} of the backup is damaged: ${fault}`);
  }
  const database = await openSqliteDatabase(join(building, DATABASE_FILE));
  try {
    await requireMasterKey(database, building, options.masterKey);
    return await restartRevision(database, options.now.getTime());
  } finally {
    await database.destroy();
  }
}

async function requireMasterKey(
  database: Database,
  building: string,
  fromEnvironment: string | undefined,
): Promise<void> {
  const file = join(building, MASTER_KEY_FILE);
  if (fromEnvironment === undefined && !existsSync(file)) {
    throw new BackupError(
      "The backup holds no master key: set ATOLL_MASTER_KEY to the one that the control plane ran with",
    );
  }
  const keys = await MasterKeys.load({ file, fromEnvironment });
  await requireMasterKeys(database, keys);
}
