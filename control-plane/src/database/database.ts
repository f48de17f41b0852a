import type { Kysely, Transaction as KyselyTransaction } from "kysely";
import type { Schema } from "./schema.ts";

/**
 * The control plane's tables, in SQLite or PostgreSQL: queries stay within what both understand. What a
 * transaction resolved with is on disk, and a call of an unreachable database is rejected with
 * `database_unavailable`. ENGINES.md says how both keep the same promises. A transaction is
 *
 * - `database.transaction()`: a writer. Writers go one after the other, those of other control planes
 *   included, so that what one reads stays true until it is committed.
 * - `.setAccessMode("read only")`: all that it reads is of one moment.
 * - `.setIsolationLevel("read committed")`: a writer that goes beside others. Whoever uses it says why the
 *   rows that it changes are enough of a lock.
 */
export type Database = Kysely<Schema>;
/** Stores take this, so that a service can join what several of them do into one transaction. */
export type Transaction = KyselyTransaction<Schema>;

/** Where a control plane's database is. */
export interface DatabasePlace {
  /** Has the embedded database, when there is no other. */
  readonly dataDirectory: string;
  /** `postgres://` address of a database, which several control planes may share. */
  readonly databaseUrl?: string | undefined;
}
