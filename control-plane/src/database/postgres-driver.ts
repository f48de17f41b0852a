import assert from "node:assert/strict";
import type {
  CompiledQuery,
  DatabaseConnection,
  Driver,
  QueryResult,
  TransactionSettings,
} from "kysely";
import type { PoolClient } from "pg";
import { LIMITS } from "../limits.ts";
import type { PostgresConnections } from "./postgres-connections.ts";
import { isRefusal, postgresError, unknownOutcome } from "./postgres-errors.ts";
import { Turns } from "./turns.ts";

/**
 * The key of the lock that a writer holds from its first statement to its commit. Any number will do that
 * nobody else takes in this database: "atoll" in letters.
 */
const WRITERS_LOCK = 0x61_74_6f_6c_6c;

/**
 * What a transaction begins with. A writer has its lock before it reads anything, and `read committed` sees
 * with each statement all that was committed before: together that is what SQLite's one writer has. The
 * levels above it would read as of the moment at which it began to wait.
 */
const BEGIN = {
  writer: `BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock(${WRITERS_LOCK})`,
  reader: "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",
  besideWriters: "BEGIN ISOLATION LEVEL READ COMMITTED",
} as const;
type Kind = keyof typeof BEGIN;

/** Kysely's way to PostgreSQL, with the three kinds of transactions that `Database` speaks of. */
export class PostgresDriver implements Driver {
  readonly #connections: PostgresConnections;
  // Those of this process wait here, and not each with a connection that readers then lack.
  readonly #writers = new Turns({ waitingMax: LIMITS.databaseWritersWaitingMax });

  constructor(connections: PostgresConnections) {
    this.#connections = connections;
  }

  async init(): Promise<void> {}

  acquireConnection(): Promise<DatabaseConnection> {
    return Promise.resolve(new PostgresConnection(this.#connections, this.#writers));
  }

  beginTransaction(connection: DatabaseConnection, settings: TransactionSettings): Promise<void> {
    return own(connection).begin(kindOf(settings));
  }

  commitTransaction(connection: DatabaseConnection): Promise<void> {
    return own(connection).commit();
  }

  rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    return own(connection).rollback();
  }

  async releaseConnection(connection: DatabaseConnection): Promise<void> {
    own(connection).release();
  }

  destroy(): Promise<void> {
    return this.#connections.close();
  }
}

/** One use of a connection, which it takes with its first statement. */
class PostgresConnection implements DatabaseConnection {
  readonly #connections: PostgresConnections;
  readonly #writers: Turns;
  #client: PoolClient | undefined;
  #hasTurn = false;
  /** Whether what state it is in is known: otherwise it is closed, which undoes what is not committed. */
  #isSound = true;

  constructor(connections: PostgresConnections, writers: Turns) {
    this.#connections = connections;
    this.#writers = writers;
  }

  async begin(kind: Kind): Promise<void> {
    if (kind === "writer") {
      await this.#writers.take();
      this.#hasTurn = true;
    }
    try {
      await this.#run(BEGIN[kind]);
    } catch (error) {
      // Kysely takes it for not begun, and would not end it.
      this.#isSound = false;
      throw error;
    }
  }

  async commit(): Promise<void> {
    let command: string;
    try {
      ({ command } = await this.#run("COMMIT"));
    } catch (error) {
      // What the server refused to commit is undone; what it did not answer to may be committed.
      throw this.#isSound ? error : unknownOutcome(error);
    }
    if (command !== "COMMIT") throw new Error(`a commit ended in ${command}`);
  }

  async rollback(): Promise<void> {
    if (!this.#isSound) return;
    try {
      await this.#run("ROLLBACK");
    } catch {
      // The first error is what is told; closing the connection undoes the transaction, too.
      this.#isSound = false;
    }
  }

  async executeQuery<Row>({ sql, parameters }: CompiledQuery): Promise<QueryResult<Row>> {
    const { command, rowCount, rows } = await this.#run<Row>(sql, parameters);
    const isChange = command === "INSERT" || command === "UPDATE" || command === "DELETE";
    return { rows, ...(isChange ? { numAffectedRows: BigInt(rowCount ?? 0) } : {}) };
  }

  // oxlint-disable-next-line require-yield -- nothing of ours streams rows; the interface asks for the method
  async *streamQuery<Row>(): AsyncIterableIterator<QueryResult<Row>> {
    throw new Error("streaming of rows is not supported");
  }

  release(): void {
    this.#client?.release(!this.#isSound);
    this.#client = undefined;
    if (this.#hasTurn) this.#writers.yield();
    this.#hasTurn = false;
  }

  async #run<Row>(text: string, values: ReadonlyArray<unknown> = []): Promise<Result<Row>> {
    this.#client ??= await this.#connections.acquire();
    try {
      // Without parameters it may be several statements, of which the last one's result counts.
      const result: unknown = await (values.length === 0
        ? this.#client.query(text)
        : this.#client.query(text, [...values]));
      return [result].flat().at(-1) as Result<Row>; // its type is that of one statement alone
    } catch (error) {
      if (!isRefusal(error)) this.#isSound = false;
      throw postgresError(error);
    }
  }
}

interface Result<Row> {
  readonly command: string;
  readonly rowCount: number | null;
  readonly rows: Row[];
}

function kindOf({ accessMode, isolationLevel }: TransactionSettings): Kind {
  if (accessMode === "read only") return "reader";
  return isolationLevel === "read committed" ? "besideWriters" : "writer";
}

function own(connection: DatabaseConnection): PostgresConnection {
  assert(connection instanceof PostgresConnection, "a connection of another driver");
  return connection;
}
