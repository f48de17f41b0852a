import { createHash } from "node:crypto";
import type { Database as SqliteFile } from "better-sqlite3";
import { sql, type RawBuilder } from "kysely";
import { DatabaseError } from "pg";
import type { Database, Transaction } from "../database/database.ts";
import { LIMITS } from "../limits.ts";
import { MoveError } from "./move-mark.ts";
import { rowsOf, type Row, type Table } from "./tables.ts";

interface CopyParts {
  readonly source: SqliteFile;
  readonly target: Database;
  readonly tables: ReadonlyArray<Table>;
  /** Told of each step, in a sentence. */
  readonly onProgress: (text: string) => void;
}

/** Copies all rows in one transaction, in place of those that are there. */
export async function copyTables(parts: CopyParts): Promise<void> {
  const { source, target, tables, onProgress } = parts;
  await target.transaction().execute(async (transaction) => {
    for (const { name } of tables.toReversed()) {
      await sql`delete from ${sql.table(name)}`.execute(transaction);
    }
    for (const table of tables) {
      let copied = 0;
      for (const chunk of chunksOf(rowsOf(source, table))) {
        await insert(transaction, table, chunk);
        copied += chunk.length;
        onProgress(`table ${table.name}: ${copied} rows`);
      }
    }
  });
}

/** Reads all tables on both sides. Resolves with the number of rows; rejected when a table differs. */
export async function compareTables(parts: CopyParts): Promise<number> {
  const { source, target, tables, onProgress } = parts;
  return target
    .transaction()
    .setAccessMode("read only")
    .execute(async (transaction) => {
      let rows = 0;
      for (const table of tables) {
        onProgress(`table ${table.name}: comparing`);
        const expected = await contentOf(table, rowsOf(source, table));
        const actual = await contentOf(table, targetRowsOf(transaction, table));
        if (actual.rows !== expected.rows || actual.digest !== expected.digest) {
          throw new MoveError(
            `The table ${table.name} is not in the database as it is in the folder: ${actual.rows} rows with digest ${actual.digest}, not ${expected.rows} with ${expected.digest}`,
          );
        }
        rows += expected.rows;
      }
      return rows;
    });
}

/** As JSON, which the database turns into the types of its columns by itself. */
async function insert(
  transaction: Transaction,
  { name, columns }: Table,
  rows: ReadonlyArray<string>,
): Promise<void> {
  const table = sql.table(name);
  const list = references(columns);
  const json = `[${rows.join(",")}]`;
  const inserting = sql`insert into ${table} (${list})
    select ${list} from json_populate_recordset(null::${table}, ${json}::json)`;
  try {
    await inserting.execute(transaction);
  } catch (cause) {
    // It refuses what SQLite lets pass, such as NUL in a text.
    if (!(cause instanceof DatabaseError)) throw cause;
    const reason = [cause.message, cause.detail].filter(Boolean).join(": ");
    throw new MoveError(`The database does not take the table ${name}: ${reason}`, { cause });
  }
}

/** Rows as JSON, in pieces, each of which ends behind the row that crosses the size of a statement. */
function* chunksOf(rows: Iterable<Row>): Iterable<ReadonlyArray<string>> {
  let chunk: string[] = [];
  let characters = 0;
  for (const row of rows) {
    const text = JSON.stringify(row);
    chunk.push(text);
    characters += text.length;
    if (characters < LIMITS.moveStatementCharacters && chunk.length < LIMITS.moveStatementRows) {
      continue;
    }
    yield chunk;
    chunk = [];
    characters = 0;
  }
  if (chunk.length > 0) yield chunk;
}

async function* targetRowsOf(transaction: Transaction, table: Table): AsyncIterable<Row> {
  await sql`declare moved_rows no scroll cursor for
    select ${references(table.columns)} from ${sql.table(table.name)}
    order by ${references(table.key)}`.execute(transaction);
  for (;;) {
    const page = sql<Row>`fetch ${sql.lit(LIMITS.moveStatementRows)} from moved_rows`;
    const { rows } = await page.execute(transaction);
    if (rows.length === 0) break;
    yield* rows;
  }
  await sql`close moved_rows`.execute(transaction);
}

async function contentOf(
  { columns }: Table,
  rows: Iterable<Row> | AsyncIterable<Row>,
): Promise<{ readonly rows: number; readonly digest: string }> {
  const hash = createHash("sha256");
  let count = 0;
  for await (const row of rows) {
    hash.update(`${JSON.stringify(columns.map((column) => row[column]))}\n`);
    count += 1;
  }
  return { rows: count, digest: hash.digest("hex") };
}

function references(columns: ReadonlyArray<string>): RawBuilder<unknown> {
  return sql.join(columns.map((column) => sql.ref(column)));
}
