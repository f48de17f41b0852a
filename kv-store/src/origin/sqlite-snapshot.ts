import SqliteDatabase, { type Database } from "better-sqlite3";
import type { KvEntry } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { Revision, type NamespaceId } from "../names.ts";
import type { Snapshot } from "./origin.ts";
import { entryOf, type EntryRow } from "./sqlite-tables.ts";

/**
 * A namespace as of one moment, read on a connection of its own: in WAL mode its read transaction sees
 * that moment while writers go on. It must be read to its end, or ended by `return()` on its pages.
 */
export class SqliteSnapshot implements Snapshot {
  readonly revision: Revision;
  readonly pages: AsyncIterableIterator<ReadonlyArray<KvEntry>>;
  readonly #connection: Database;
  readonly #onEnd: () => void;
  #isEnded = false;

  /** `undefined` when there is no such namespace. `onEnd` is called once, when it holds nothing any more. */
  static open(path: string, namespace: NamespaceId, onEnd: () => void): SqliteSnapshot | undefined {
    const connection = new SqliteDatabase(path, { readonly: true });
    try {
      connection.exec("BEGIN");
      // The first read is what fixes the moment.
      const row = connection
        .prepare<[string], { id: number; revision: number }>(
          "SELECT id, revision FROM namespaces WHERE namespace = ?",
        )
        .get(namespace);
      if (row !== undefined) return new SqliteSnapshot(connection, row, onEnd);
    } catch (error) {
      connection.close();
      throw error;
    }
    connection.close();
    return undefined;
  }

  private constructor(
    connection: Database,
    row: { readonly id: number; readonly revision: number },
    onEnd: () => void,
  ) {
    this.#connection = connection;
    this.#onEnd = onEnd;
    this.revision = Revision.parse(row.revision);
    this.pages = this.#open(row.id);
  }

  /** Releases the connection. May be called twice. */
  end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#connection.close();
    this.#onEnd();
  }

  // Not a generator: one that was never started would not run its `finally` when it is returned.
  #open(namespaceId: number): AsyncIterableIterator<ReadonlyArray<KvEntry>> {
    const select = this.#connection.prepare<[number, Buffer], EntryRow>(
      `SELECT key, expires_at, metadata, blob_hash, blob_size, value FROM entries
       WHERE namespace_id = ? AND key > ? ORDER BY key`,
    );
    let last: Buffer = Buffer.alloc(0);
    const next = (): IteratorResult<ReadonlyArray<KvEntry>> => {
      if (this.#isEnded) return { done: true, value: undefined };
      const rows = firstRows(select.iterate(namespaceId, last));
      last = rows.at(-1)?.key ?? last;
      if (rows.length > 0) return { done: false, value: rows.map(entryOf) };
      this.end();
      return { done: true, value: undefined };
    };
    const finish = (): IteratorResult<ReadonlyArray<KvEntry>> => {
      this.end();
      return { done: true, value: undefined };
    };
    const iterator: AsyncIterableIterator<ReadonlyArray<KvEntry>> = {
      next: async () => next(),
      return: async () => finish(),
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }
}

/** Rows up to the one that crosses a page's size. */
function firstRows(rows: Iterable<EntryRow>): EntryRow[] {
  const page: EntryRow[] = [];
  let bytes = 0;
  for (const row of rows) {
    page.push(row);
    bytes += row.key.length + (row.metadata?.length ?? 0) + (row.value?.length ?? 0);
    if (bytes >= LIMITS.snapshotPageBytesMax || page.length >= LIMITS.logPageRecordsMax) break;
  }
  return page;
}
