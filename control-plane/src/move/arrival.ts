import { sql } from "kysely";
import type { Database } from "../database/database.ts";
import { MoveError } from "./move-mark.ts";
import type { Table } from "./tables.ts";

/** What is moved, and where its blobs go. */
export interface Arriving {
  readonly installation: string;
  readonly blobStore: string;
  readonly now: Date;
}

// Any number that nobody else locks: of two moves into one database the second one is refused.
const MOVE_LOCK = 7_094_273_217;

/** Runs the action while no other move into the database can. `database` is used for nothing else. */
export async function withMoveLock<Result>(
  database: Database,
  action: () => Promise<Result>,
): Promise<Result> {
  return database.connection().execute(async (connection) => {
    const trying = sql<{ held: string }>`
      select pg_try_advisory_lock(${sql.lit(MOVE_LOCK)})::text as held`;
    const { rows } = await trying.execute(connection);
    if (rows[0]?.held !== "true") {
      throw new MoveError("Another move into this database is under way");
    }
    // Its end is the connection's.
    return action();
  });
}

/**
 * Notes that the installation is on its way, after which nobody can start with the database until it is whole.
 * Rejected unless either place is empty, or holds what an earlier run of the same move left.
 */
export async function beginArrival(
  target: Database,
  tables: ReadonlyArray<Table>,
  arriving: Arriving & { readonly isBlobStoreEmpty: () => Promise<boolean> },
): Promise<void> {
  const { installation, blobStore, now } = arriving;
  const [known, ...others] = await target.selectFrom("moves").selectAll().execute();
  const isOurs = others.length === 0 && known?.installation === installation;
  if (known !== undefined && !isOurs) {
    throw new MoveError("The database is that of another installation, which was moved there");
  }
  if (known?.finished_at != null) {
    throw new MoveError(
      `This installation was moved to the database on ${known.finished_at} already: what was changed there since would be lost. Remove its schemas 'atoll' and 'atoll_kv' first if that is what you want`,
    );
  }
  if (known === undefined) await requireEmpty(target, tables);
  if (known?.blob_store !== blobStore && !(await arriving.isBlobStoreEmpty())) {
    throw new MoveError(`${blobStore} is not empty: name a bucket, or a folder in it, that is`);
  }
  const row = { installation, blob_store: blobStore, started_at: now.toISOString() };
  await target
    .insertInto("moves")
    .values(row)
    .onConflict((conflict) => conflict.column("installation").doUpdateSet(row))
    .execute();
}

/** Opens the database to whoever starts with it. Rejected when it is not the one that the installation moved to. */
export async function finishArrival(target: Database, arriving: Arriving): Promise<void> {
  const { installation, blobStore, now } = arriving;
  const found = await target
    .selectFrom("moves")
    .select("finished_at")
    .where("installation", "=", installation)
    .where("blob_store", "=", blobStore)
    .executeTakeFirst();
  if (found === undefined) throw new MoveError("The folder was moved already, and not to there");
  if (found.finished_at !== null) return;
  await target
    .updateTable("moves")
    .set({ finished_at: now.toISOString() })
    .where("installation", "=", installation)
    .execute();
}

/** Throws a `MoveError` while an installation is on its way into the database. */
export async function requireArrived(database: Database): Promise<void> {
  const arriving = await database
    .selectFrom("moves")
    .select("started_at")
    .where("finished_at", "is", null)
    .executeTakeFirst();
  if (arriving === undefined) return;
  throw new MoveError(
    `A move into this database began on ${arriving.started_at} and is not finished: run 'atoll migrate' again with the same places`,
  );
}

async function requireEmpty(target: Database, tables: ReadonlyArray<Table>): Promise<void> {
  for (const { name } of tables) await requireNoRow(target, name);
  const kv = sql<{ name: string | null }>`select to_regclass('atoll_kv.namespaces')::text as name`;
  const { rows } = await kv.execute(target);
  if (rows[0]?.name != null) await requireNoRow(target, "atoll_kv.namespaces");
}

async function requireNoRow(target: Database, table: string): Promise<void> {
  const { rows } = await sql`select 1 from ${sql.table(table)} limit 1`.execute(target);
  if (rows.length === 0) return;
  throw new MoveError(
    `The database is not empty: its table ${table} has rows. Name a new database; one that a control plane was started with is no longer new`,
  );
}
