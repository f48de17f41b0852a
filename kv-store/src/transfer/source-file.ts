import { existsSync } from "node:fs";
import { open, rename } from "node:fs/promises";
import { dirname } from "node:path";
import SqliteDatabase, { type Database } from "better-sqlite3";
import { KvError } from "../errors.ts";
import { ContentHash } from "../entry.ts";
import { NamespaceId } from "../names.ts";
import { migrate } from "../origin/sqlite-schema.ts";
import type { NamespaceRow } from "../origin/sqlite-tables.ts";
import type { QuotaRow } from "../origin/quota.ts";
import { namedValues } from "../origin/sqlite-value-names.ts";

export interface SourceEntry {
  readonly key: Buffer;
  readonly digest: Buffer;
  readonly revision: number;
  readonly expires_at: number | null;
  readonly metadata: string | null;
  readonly blob_hash: string | null;
  readonly blob_size: number | null;
  readonly value: Buffer | null;
}

export interface SourceRecord {
  readonly revision: number;
  readonly at_ms: number;
  readonly digest: string;
  readonly key: Buffer;
  readonly operation: Buffer;
  readonly replaced_digest: Buffer | null;
  readonly replaced_expires_at: number | null;
  readonly replaced_metadata: string | null;
  readonly replaced_hash: string | null;
  readonly replaced_size: number | null;
  readonly replaced_value: Buffer | null;
}

/** The file of a `SqliteOrigin` that nobody else has open, and nobody can open meanwhile. */
export class SourceFile {
  readonly #path: string;
  readonly #database: Database;

  /** Fails with `busy` when a control plane has it open, with `storage_failed` when it is missing or no such file. */
  static open(path: string): SourceFile {
    if (!existsSync(path)) throw new KvError("storage_failed", `${path} does not exist`);
    let database: Database | undefined;
    try {
      database = new SqliteDatabase(path, { fileMustExist: true, timeout: 0 });
      // In this mode the first access locks the file for good, if nobody else has it open.
      database.pragma("locking_mode = EXCLUSIVE");
      database.exec("BEGIN EXCLUSIVE; COMMIT");
      migrate(database, Date.now());
      return new SourceFile(path, database);
    } catch (cause) {
      database?.close();
      if (cause instanceof KvError) throw cause;
      const code = cause instanceof SqliteDatabase.SqliteError ? cause.code : "";
      if (code.startsWith("SQLITE_BUSY")) {
        throw new KvError("busy", `${path} is in use: stop the control plane first`, { cause });
      }
      const detail = cause instanceof Error ? cause.message : String(cause);
      throw new KvError("storage_failed", `${path} can't be read: ${detail}`, { cause });
    }
  }

  private constructor(path: string, database: Database) {
    this.#path = path;
    this.#database = database;
  }

  namespaces(): ReadonlyArray<NamespaceRow & { readonly namespace: NamespaceId }> {
    const rows = this.#database
      .prepare<[], NamespaceRow>("SELECT * FROM namespaces ORDER BY id")
      .all();
    return rows.map((row) => ({ ...row, namespace: NamespaceId.parse(row.namespace) }));
  }

  /** One of these at a time: the file is busy from the first row to the last. */
  *entries(namespaceId: number): Iterable<SourceEntry> {
    yield* this.#database
      .prepare<[number], SourceEntry>("SELECT * FROM entries WHERE namespace_id = ? ORDER BY key")
      .iterate(namespaceId);
  }

  *records(namespaceId: number): Iterable<SourceRecord> {
    yield* this.#database
      .prepare<[number], SourceRecord>("SELECT * FROM log WHERE namespace_id = ? ORDER BY revision")
      .iterate(namespaceId);
  }

  /** Up to where entries have expired, in seconds since the epoch. */
  expiredUpTo(): number {
    const rows = this.#database
      .prepare<[], { seconds: number }>("SELECT seconds FROM expiry")
      .all();
    return Math.max(0, ...rows.map(({ seconds }) => seconds));
  }

  quotas(): ReadonlyArray<QuotaRow> {
    return this.#database.prepare<[], QuotaRow>("SELECT * FROM quotas").all();
  }

  /** The large values that belong to it. */
  values(): ReadonlyArray<ContentHash> {
    return namedValues(this.#database);
  }

  /** Those, and others that may be stored and wait to be collected. */
  *knownValues(): Iterable<ContentHash> {
    const rows = this.#database.prepare<[], string>("SELECT hash FROM large_values").pluck();
    for (const hash of rows.iterate()) yield ContentHash.parse(hash);
  }

  /** Puts the file out of the way, under the name that is returned: a control plane that starts with it finds none. */
  async setAside(): Promise<string> {
    // Brings what is in the write-ahead log into the file, and removes it.
    this.close();
    const aside = `${this.#path}.moved`;
    await rename(this.#path, aside);
    const directory = await open(dirname(this.#path), "r");
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
    return aside;
  }

  /** May be called twice. */
  close(): void {
    if (this.#database.open) this.#database.close();
  }
}
