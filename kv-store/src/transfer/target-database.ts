import { Client } from "pg";
import type { ContentHash } from "../entry.ts";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { NamespaceId } from "../names.ts";
import { byteaArray } from "../origin/bytea-array.ts";
import { databaseError } from "../origin/postgres-errors.ts";
import { migrate, SCHEMA } from "../origin/postgres-schema.ts";
import { postgresTypes } from "../origin/postgres-session.ts";
import type { QuotaRow } from "../origin/quota.ts";
import type { NamespaceRow } from "../origin/sqlite-tables.ts";
import { chunksOf } from "../origin/statement-chunks.ts";
import type { SourceEntry, SourceRecord } from "./source-file.ts";

/** What the database has of a namespace already. */
export interface FoundNamespace {
  readonly id: number;
  readonly namespace: string;
  readonly revision: number;
  readonly digest: string;
  /** Up to where its log was cut. */
  readonly logStart: number;
}

const FIND = `SELECT id, namespace, revision, encode(digest, 'hex') AS digest, log_start AS "logStart"
  FROM namespaces`;

const ADD_ENTRIES = `INSERT INTO entries
    (namespace_id, key, digest, revision, expires_at, metadata, blob_hash, blob_size, value)
  SELECT $1::bigint, * FROM unnest($2::bytea[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bytea[],
    $7::bytea[], $8::bigint[], $9::bytea[])`;
const ADD_RECORDS = `INSERT INTO log (namespace_id, revision, at_ms, digest, key, operation, replaced_digest,
    replaced_expires_at, replaced_metadata, replaced_hash, replaced_size, replaced_value)
  SELECT $1::bigint, * FROM unnest($2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bytea[],
    $7::bytea[], $8::bigint[], $9::bytea[], $10::bytea[], $11::bigint[], $12::bytea[])`;

// What is named now can be written again, and is collected once nothing names it.
const CLAIM_VALUES = `INSERT INTO large_values (hash, claimed_ms)
  SELECT blob_hash, 0 FROM entries WHERE namespace_id = $1 AND blob_hash IS NOT NULL
  UNION SELECT replaced_hash, 0 FROM log WHERE namespace_id = $1 AND replaced_hash IS NOT NULL
  ON CONFLICT (hash) DO NOTHING`;

/** The database of a `PostgresOrigin`, on one connection, for namespaces that come as a whole. */
export class TargetDatabase {
  readonly #client: Client;

  /** Makes the tables when there are none. Fails with `origin_unreachable` or `storage_failed`. */
  static async open(url: string): Promise<TargetDatabase> {
    await migrate(url);
    const client = new Client({
      connectionString: url,
      connectionTimeoutMillis: LIMITS.originConnectMs,
      keepAlive: true,
      application_name: "atoll-kv-migrate",
      types: postgresTypes,
    });
    client.on("error", () => {}); // said to the statement that runs, too
    try {
      await client.connect();
      // No limit of time to a statement: nobody waits but the one who moves.
      await client.query(`SET search_path = ${SCHEMA}; SET synchronous_commit = on`);
    } catch (error) {
      await client.end();
      throw databaseError(error);
    }
    return new TargetDatabase(client);
  }

  private constructor(client: Client) {
    this.#client = client;
  }

  /** `undefined` when the database has no such namespace. */
  async find(namespace: NamespaceId): Promise<FoundNamespace | undefined> {
    const rows = await this.#query<FoundNamespace>(`${FIND} WHERE namespace = $1`, [namespace]);
    return rows[0];
  }

  async findAll(): Promise<ReadonlyArray<FoundNamespace>> {
    return this.#query<FoundNamespace>(FIND, []);
  }

  /** Removes a namespace with all that it has. */
  async remove({ id }: FoundNamespace): Promise<void> {
    await this.#query(
      `WITH removed_entries AS (DELETE FROM entries WHERE namespace_id = $1),
         removed_log AS (DELETE FROM log WHERE namespace_id = $1)
       DELETE FROM namespaces WHERE id = $1`,
      [id],
    );
  }

  async removeQuotas(): Promise<void> {
    await this.#query("DELETE FROM quotas", []);
  }

  /** Adds a namespace with all that it has, in one transaction: it is there as a whole, or not at all. */
  async add(
    row: NamespaceRow,
    parts: {
      readonly entries: Iterable<SourceEntry>;
      readonly records: Iterable<SourceRecord>;
      /** Told of how many rows were sent so far. */
      readonly onProgress: (rows: number) => void;
    },
  ): Promise<void> {
    try {
      await this.#query("BEGIN", []);
      // One that was made and never written to gives way.
      await this.#query("DELETE FROM namespaces WHERE namespace = $1 AND revision = 0", [
        row.namespace,
      ]);
      const id = await this.#addNamespace(row);
      let sent = 0;
      const sentMore = (rows: number): void => parts.onProgress((sent += rows));
      for (const chunk of chunksOf(parts.entries, ({ value }) => value?.length ?? 0)) {
        await this.#query(ADD_ENTRIES, [id, ...entryColumns(chunk)]);
        sentMore(chunk.length);
      }
      for (const chunk of chunksOf(parts.records, recordBytes)) {
        await this.#query(ADD_RECORDS, [id, ...recordColumns(chunk)]);
        sentMore(chunk.length);
      }
      await this.#query(CLAIM_VALUES, [id]);
      await this.#query("COMMIT", []);
    } catch (error) {
      // A connection that is lost has undone it, too.
      await this.#query("ROLLBACK", []).catch(() => {});
      throw error;
    }
  }

  /** Notes large values of which nobody knows here: what nothing names of them is collected. */
  async addValues(hashes: Iterable<ContentHash>): Promise<void> {
    for (const chunk of chunksOf(hashes, () => 0)) {
      await this.#query(
        `INSERT INTO large_values (hash, claimed_ms) SELECT hash, 0 FROM unnest($1::bytea[]) AS hash
         ON CONFLICT (hash) DO NOTHING`,
        [byteaArray(chunk.map((hash) => hexBytes(hash)))],
      );
    }
  }

  /** Notes that entries have expired up to here, unless they have further. */
  async expireUpTo(seconds: number): Promise<void> {
    await this.#query("UPDATE expiry SET seconds = greatest(seconds, $1)", [seconds]);
  }

  /** Adds what accounts may have and do, where the database knows nothing of the account. */
  async addQuotas(quotas: ReadonlyArray<QuotaRow>): Promise<void> {
    for (const row of quotas) {
      await this.#query(
        `INSERT INTO quotas VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (account) DO NOTHING`,
        [
          ...[row.account, row.keys_max, row.bytes_max],
          ...[row.writes_per_second_max, row.writes_per_day_max],
          ...[row.second, row.second_writes, row.day, row.day_writes],
        ],
      );
    }
  }

  /** May be called twice. */
  async close(): Promise<void> {
    await this.#client.end();
  }

  async #addNamespace(row: NamespaceRow): Promise<number> {
    const [added] = await this.#query<{ id: number }>(
      `INSERT INTO namespaces (namespace, revision, digest, log_start, log_start_digest, log_bytes,
         account, keys, bytes, written_ms, log_start_ms)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING id`,
      [
        ...[row.namespace, row.revision, Buffer.from(row.digest, "hex")],
        ...[row.log_start, Buffer.from(row.log_start_digest, "hex"), row.log_bytes],
        ...[row.account, row.keys, row.bytes, row.written_ms, row.log_start_ms],
      ],
    );
    if (added === undefined) throw new KvError("storage_failed", "the namespace got no number");
    return added.id;
  }

  async #query<Row extends object>(text: string, values: unknown[]): Promise<Row[]> {
    try {
      const { rows } = await this.#client.query<Row>(text, values);
      return rows;
    } catch (error) {
      throw databaseError(error);
    }
  }
}

function entryColumns(rows: ReadonlyArray<SourceEntry>): unknown[] {
  return [
    byteaArray(rows.map(({ key }) => key)),
    byteaArray(rows.map(({ digest }) => digest)),
    rows.map(({ revision }) => revision),
    rows.map(({ expires_at }) => expires_at),
    byteaArray(rows.map(({ metadata }) => textBytes(metadata))),
    byteaArray(rows.map(({ blob_hash }) => hexBytes(blob_hash))),
    rows.map(({ blob_size }) => blob_size),
    byteaArray(rows.map(({ value }) => value)),
  ];
}

function recordColumns(rows: ReadonlyArray<SourceRecord>): unknown[] {
  return [
    rows.map(({ revision }) => revision),
    rows.map(({ at_ms }) => at_ms),
    byteaArray(rows.map(({ digest }) => hexBytes(digest))),
    byteaArray(rows.map(({ key }) => key)),
    byteaArray(rows.map(({ operation }) => operation)),
    byteaArray(rows.map((row) => row.replaced_digest)),
    rows.map((row) => row.replaced_expires_at),
    byteaArray(rows.map((row) => textBytes(row.replaced_metadata))),
    byteaArray(rows.map((row) => hexBytes(row.replaced_hash))),
    rows.map((row) => row.replaced_size),
    byteaArray(rows.map((row) => row.replaced_value)),
  ];
}

function recordBytes({ operation, replaced_value }: SourceRecord): number {
  return operation.length + (replaced_value?.length ?? 0);
}

function textBytes(text: string | null): Buffer | null {
  return text === null ? null : Buffer.from(text, "utf8");
}

function hexBytes(text: string | null): Buffer | null {
  return text === null ? null : Buffer.from(text, "hex");
}
