import type SqliteDatabase from "better-sqlite3";
import type { SqliteDatabase as StatementSource, SqliteStatement } from "kysely";
import { LIMITS } from "../limits.ts";

/**
 * Prepares each statement once and keeps those that were used last: to prepare one takes longer than most run, and
 * what is not kept holds memory until the garbage collector comes to it, which knows nothing of its size.
 */
export class KeptStatements implements StatementSource {
  readonly #file: SqliteDatabase.Database;
  /** By their text, the one that was used last at the end. */
  readonly #kept = new Map<string, SqliteStatement>();
  /** Of all their texts. */
  #characters = 0;

  constructor(file: SqliteDatabase.Database) {
    this.#file = file;
  }

  prepare(text: string): SqliteStatement {
    const known = this.#kept.get(text);
    const statement = known ?? this.#file.prepare(text);
    if (known === undefined) this.#characters += text.length;
    this.#kept.delete(text);
    this.#kept.set(text, statement);
    for (const oldest of this.#kept.keys()) {
      if (this.#characters <= LIMITS.sqliteStatementCharactersMax) break;
      this.#kept.delete(oldest);
      this.#characters -= oldest.length;
    }
    return statement;
  }

  close(): void {
    this.#kept.clear();
    this.#characters = 0;
    this.#file.close();
  }
}
