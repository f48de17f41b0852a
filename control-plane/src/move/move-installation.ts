import { copyToPostgres } from "@atoll/kv-store/transfer";
import { KvError, type Log } from "@atoll/kv-store";
import { BackupError } from "../backup/backup-error.ts";
import { ContentStores, readContentsOf, type Contents } from "../backup/contents.ts";
import type { S3Blobs } from "../blobs/s3/s3-blobs.ts";
import type { Database } from "../database/database.ts";
import { connectPostgres, openForMigration } from "../database/postgres-database.ts";
import { openSqliteDatabase } from "../database/sqlite-database.ts";
import { DATABASE_FILE } from "../database/open-database.ts";
import { restartRevision } from "../desired-state/mutations.ts";
import { ControlPlaneError } from "../errors.ts";
import { join } from "node:path";
import { beginArrival, finishArrival, withMoveLock, type Arriving } from "./arrival.ts";
import {
  MoveError,
  readMoveMark,
  removeMoveMark,
  writeMoveMark,
  type MoveSummary,
} from "./move-mark.ts";
import { SourceInstallation } from "./source-installation.ts";
import { compareTables, copyTables } from "./table-copy.ts";
import { tablesOf } from "./tables.ts";

export interface MoveOptions {
  /** The embedded installation's, which nobody may be using. */
  readonly dataDirectory: string;
  /** `ATOLL_MASTER_KEY`, when the control plane is run with it. */
  readonly masterKey: string | undefined;
  readonly databaseUrl: string;
  readonly blobs: Pick<S3Blobs, "open" | "isEmpty">;
  /** Where those are, for people. */
  readonly blobStore: string;
  /** Told of each step, in a sentence. */
  readonly onProgress: (text: string) => void;
  readonly now: Date;
  readonly log: Log;
}

/**
 * Moves an embedded installation to PostgreSQL and S3. Resolves when all of it is there and was read back; the folder
 * is as it was, and marked as moved. One that was cut short at any moment is finished by repeating it. Rejected with a
 * `MoveError` or an `OperatorError`; then the folder may still be used. See MOVE.md.
 */
export async function moveInstallation(options: MoveOptions): Promise<MoveSummary> {
  try {
    const target = await openForMigration(options.databaseUrl);
    const locking = connectPostgres(options.databaseUrl, "migration");
    try {
      return await withMoveLock(locking, () => moveTo(target, options));
    } finally {
      await target.destroy();
      await locking.destroy();
    }
  } catch (error) {
    throw explained(error, options.dataDirectory);
  }
}

/**
 * Makes a folder that was moved an installation of its own again, as it was then. Its revision goes on above all that
 * nodes have seen where it was moved to. Rejected with a `MoveError` when it was not moved.
 */
export async function undoMove(options: {
  readonly dataDirectory: string;
  readonly now: Date;
}): Promise<void> {
  const { dataDirectory, now } = options;
  if (readMoveMark(dataDirectory) === undefined) {
    throw new MoveError(`What ${dataDirectory} holds was not moved elsewhere`);
  }
  const database = await openSqliteDatabase(join(dataDirectory, DATABASE_FILE));
  try {
    await restartRevision(database, now.getTime());
  } finally {
    await database.destroy();
  }
  await removeMoveMark(dataDirectory);
}

async function moveTo(target: Database, options: MoveOptions): Promise<MoveSummary> {
  const { dataDirectory, blobStore, now } = options;
  const mark = readMoveMark(dataDirectory);
  if (mark !== undefined) {
    // All was there and compared when the folder was marked.
    await finishArrival(target, { installation: mark.installation, blobStore, now });
    return mark.summary;
  }
  const source = await SourceInstallation.open(options);
  try {
    const arriving: Arriving = { installation: source.id, blobStore, now };
    const summary = await copyAndCompare({ source, target, arriving, ...options });
    await writeMoveMark(dataDirectory, {
      format: 1,
      installation: source.id,
      movedAt: now.toISOString(),
      database: withoutCredentials(options.databaseUrl),
      blobStore,
      summary,
    });
    // From here on nobody can start with the folder, so that somebody may with the database.
    await finishArrival(target, arriving);
    return summary;
  } finally {
    await source.close();
  }
}

async function copyAndCompare(
  parts: MoveOptions & {
    readonly source: SourceInstallation;
    readonly target: Database;
    readonly arriving: Arriving;
  },
): Promise<MoveSummary> {
  const { source, target, arriving, blobs, onProgress } = parts;
  const tables = tablesOf(source.file);
  await beginArrival(target, tables, { ...arriving, isBlobStoreEmpty: () => blobs.isEmpty() });
  const contents = await readContentsOf(source.database, {
    values: source.kv.values(),
    blobs: source.stores.blobs,
  });
  const stores = new ContentStores(blobs.open);
  await source.stores.copyTo(stores, contents, counted("copied", contents, onProgress));
  const { namespaces, keys } = await copyToPostgres({
    ...{ source: source.kv, url: parts.databaseUrl, onProgress, log: parts.log },
    others: "replace",
  });
  await copyTables({ source: source.file, target, tables, onProgress });
  const rows = await compareTables({ source: source.file, target, tables, onProgress });
  await stores.verify(contents, counted("read back", contents, onProgress));
  return {
    ...{ tables: tables.length, rows, namespaces, keys },
    ...{ blobs: contents.blobs.size, values: contents.values.size },
  };
}

function counted(
  what: string,
  { blobs, values }: Contents,
  onProgress: (text: string) => void,
): () => void {
  const total = blobs.size + values.size;
  let count = 0;
  return () => onProgress(`blobs: ${(count += 1)} of ${total} ${what}`);
}

/** The address as people may see it. */
function withoutCredentials(address: string): string {
  const url = new URL(address);
  url.username = "";
  url.password = "";
  url.search = "";
  return url.href;
}

function explained(error: unknown, dataDirectory: string): unknown {
  if (error instanceof MoveError) return error;
  const isKnown =
    error instanceof ControlPlaneError || error instanceof KvError || error instanceof BackupError;
  if (!isKnown && !(error instanceof Error && error.cause !== undefined)) return error;
  const advice =
    readMoveMark(dataDirectory) === undefined
      ? "The folder is as it was; the same command may be repeated"
      : "All was moved, and nothing can be started before the same command was repeated";
  return new MoveError(`${error.message}${reasonOf(error.cause)}. ${advice}`, { cause: error });
}

/** What is at the bottom of it: that a password is wrong, or who speaks another version. */
function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return "";
  if (cause.cause instanceof Error) return reasonOf(cause.cause);
  return ` (${cause.message || cause.name})`;
}
