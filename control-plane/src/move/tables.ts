import assert from "node:assert/strict";
import type { Database as SqliteFile } from "better-sqlite3";

/** A table, as copying wants to know it. */
export interface Table {
  readonly name: string;
  readonly columns: ReadonlyArray<string>;
  /** The columns by which rows have one order on every engine. */
  readonly key: ReadonlyArray<string>;
}

export type Row = Readonly<Record<string, unknown>>;

/** What each engine has of its own: which migrations were made, and what came from elsewhere. */
const OWN_TABLES = ["kysely_migration", "kysely_migration_lock", "moves"];

/** All tables with what belongs to an installation, each behind those that it refers to. */
export function tablesOf(file: SqliteFile): ReadonlyArray<Table> {
  const names = file
    .prepare<[], string>(
      `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'`,
    )
    .pluck()
    .all();
  const left = new Set(names.filter((name) => !OWN_TABLES.includes(name)));
  const ordered: Table[] = [];
  while (left.size > 0) {
    const free = [...left].filter((name) =>
      referencesOf(file, name).every((other) => other === name || !left.has(other)),
    );
    assert(free.length > 0, "tables that refer to each other have no order");
    for (const name of free.toSorted()) {
      left.delete(name);
      ordered.push(describe(file, name));
    }
  }
  return ordered;
}

/** One at a time: the file is busy from the first row to the last. */
export function* rowsOf(file: SqliteFile, { name, columns, key }: Table): Iterable<Row> {
  const text = `SELECT ${columns.map(quoted).join(", ")} FROM ${quoted(name)} ORDER BY ${key.map(quoted).join(", ")}`;
  yield* file.prepare<[], Row>(text).iterate();
}

function referencesOf(file: SqliteFile, name: string): ReadonlyArray<string> {
  const rows = file.pragma(`foreign_key_list(${quoted(name)})`) as ReadonlyArray<{
    readonly table: string;
  }>;
  return rows.map(({ table }) => table);
}

function describe(file: SqliteFile, name: string): Table {
  const columns = file.pragma(`table_info(${quoted(name)})`) as ReadonlyArray<{
    readonly name: string;
    /** From 1 on within the primary key; 0 outside. */
    readonly pk: number;
  }>;
  const key = columns.filter(({ pk }) => pk > 0).toSorted((left, right) => left.pk - right.pk);
  assert(key.length > 0, `the table ${name} has no primary key`);
  return {
    name,
    columns: columns.map((column) => column.name),
    key: key.map((column) => column.name),
  };
}

function quoted(name: string): string {
  return `"${name}"`;
}
