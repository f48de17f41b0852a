import { existsSync } from "node:fs";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { DATABASE_FILE } from "../database/open-database.ts";
import { LIMITS } from "../limits.ts";
import { requireNotMoved } from "../move/move-mark.ts";
import { MASTER_KEY_FILE } from "../secrets/master-keys.ts";
import { asBackupError, BackupError } from "./backup-error.ts";
import { ContentStores, KV_FILE, MissingBlob, readContents, type Contents } from "./contents.ts";
import { sync } from "../durable-path.ts";
import { requireFree } from "./durable-copy.ts";
import { copyMasterKeys } from "./key-copy.ts";
import { fileHash, MANIFEST_FILE, type BackupManifest } from "./manifest.ts";
import { faultsOf, snapshotTogether } from "./snapshot.ts";

export interface BackupOptions {
  /** The control plane's; it may be running. */
  readonly dataDirectory: string;
  /** Where the backup is made: not there yet, or empty. */
  readonly to: string;
  /** Whether the master key is left out. */
  readonly isWithoutKey: boolean;
  readonly now: Date;
}

/**
 * Backs up an embedded installation: both databases as of one instant, and all blobs that they name. Resolves when
 * it is complete, verified and on disk. Rejected with a `BackupError`, or with a `MoveError` when the installation was
 * moved elsewhere; then nothing is left.
 */
export async function backUp(options: BackupOptions): Promise<BackupManifest> {
  const { dataDirectory, to } = options;
  requireInstallation(dataDirectory);
  // It would be of a day long past, and who restores it leads nodes back there.
  requireNotMoved(dataDirectory);
  await requireFree(to, { whenTaken: "name a folder that is not there" });
  const building = `${to}.partial`;
  try {
    // What is left of an attempt that was killed.
    await rm(building, { recursive: true, force: true });
    await mkdir(building, { recursive: true, mode: 0o700 });
    const contents = await copyAll(options, building);
    await verifyCopies(building, contents);
    const hasKey = existsSync(join(building, MASTER_KEY_FILE));
    const names = [DATABASE_FILE, KV_FILE, ...(hasKey ? [MASTER_KEY_FILE] : [])];
    const manifest = await describe(building, { names, contents, now: options.now });
    await writeFile(join(building, MANIFEST_FILE), `${JSON.stringify(manifest, null, 2)}\n`);
    await sync(join(building, MANIFEST_FILE));
    await sync(building);
    await rename(building, to);
    await sync(dirname(to));
    return manifest;
  } catch (error) {
    await rm(building, { recursive: true, force: true });
    throw explained(error);
  }
}

function requireInstallation(dataDirectory: string): void {
  if (!existsSync(join(dataDirectory, DATABASE_FILE))) {
    throw new BackupError(`${dataDirectory} is not the data folder of a control plane`);
  }
  if (existsSync(join(dataDirectory, KV_FILE))) return;
  throw new BackupError(
    `${dataDirectory} has no ${KV_FILE}: its keys and values are in PostgreSQL, and this is a backup of what is in the folder alone`,
  );
}

async function copyAll(
  { dataDirectory, isWithoutKey }: BackupOptions,
  building: string,
): Promise<Contents> {
  const [from, to] = [ContentStores.in(dataDirectory), ContentStores.in(building)];
  for (let attempt = 1; ; attempt += 1) {
    for (const name of [DATABASE_FILE, KV_FILE, MASTER_KEY_FILE]) {
      await rm(join(building, name), { force: true });
    }
    await snapshotTogether(
      { from: join(dataDirectory, DATABASE_FILE), to: join(building, DATABASE_FILE) },
      { from: join(dataDirectory, KV_FILE), to: join(building, KV_FILE) },
    );
    // Once more: a move that held the files when this began to wait for them has ended since.
    requireNotMoved(dataDirectory);
    if (!isWithoutKey) await copyMasterKeys(dataDirectory, building);
    try {
      const contents = await readContents(building, from.blobs);
      await from.copyTo(to, contents);
      return contents;
    } catch (error) {
      // It may have been collected since. What names it has then gone, too.
      if (!(error instanceof MissingBlob) || attempt === LIMITS.backupAttemptsMax) throw error;
    }
  }
}

/** Of what was written, and not of what was read. */
async function verifyCopies(building: string, contents: Contents): Promise<void> {
  for (const name of [DATABASE_FILE, KV_FILE]) {
    await sync(join(building, name));
    const [fault] = faultsOf(join(building, name));
    if (fault !== undefined) throw new BackupError(`The copy of ${name} is damaged: ${fault}`);
  }
  await ContentStores.in(building).verify(contents);
}

async function describe(
  building: string,
  parts: {
    readonly names: ReadonlyArray<string>;
    readonly contents: Contents;
    readonly now: Date;
  },
): Promise<BackupManifest> {
  const files: Record<string, string> = {};
  for (const name of parts.names) files[name] = await fileHash(join(building, name));
  return {
    format: 1,
    createdAt: parts.now.toISOString(),
    revision: parts.contents.revision,
    files,
    blobs: parts.contents.blobs.size,
    values: parts.contents.values.size,
  };
}

function explained(error: unknown): unknown {
  if (error instanceof MissingBlob) {
    const text = `${error.message}. Are the blobs in a bucket? This is a backup of what is in the folder alone`;
    return new BackupError(text, { cause: error });
  }
  return asBackupError(error);
}
