import { Pool, type PoolClient } from "pg";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { Log } from "../log.ts";
import { Slots } from "../slots.ts";
import { databaseError } from "./postgres-errors.ts";
import { postgresTypes, sessionSettings } from "./postgres-session.ts";

/** A statement that each connection prepares once, under its name. */
export interface Statement {
  readonly name: string;
  readonly text: string;
}

/** A statement to be run, with its parameters. */
export interface Change {
  readonly statement: Statement;
  readonly values: ReadonlyArray<unknown>;
}

/** Runs statements of one transaction in the order of the calls, which need not wait for each other. */
export type RunStatement = <Row extends object>(
  statement: Statement,
  values: ReadonlyArray<unknown>,
) => Promise<Row[]>;

/** What a transaction does after it has read what it needs. */
export interface Plan<Result> {
  /** Sent without waiting for each one's answer, and the commit behind them. */
  readonly changes: Iterable<Change>;
  readonly result: Result;
}

export interface PostgresConnectionsOptions {
  readonly url: string;
  readonly log: Log;
}

// How many changes are on their way at once: each may have megabytes.
const CHANGES_UNDER_WAY_MAX = 4;

/**
 * The connections to the database: some for reads, some for transactions, made when they are needed and
 * made again when they were lost. Nothing waits without a bound, and what fails is an error of this package:
 * `origin_unreachable` when the database can't be reached or did not answer, `storage_failed` when it refused.
 */
export class PostgresConnections {
  readonly #log: Log;
  readonly #readers: Pool;
  readonly #writers: Pool;
  readonly #readerSlots = new Slots(LIMITS.originReadersMax);
  readonly #writerSlots = new Slots(LIMITS.originWritersMax);
  /** Reads that run or wait for a connection. */
  #readCount = 0;
  /** Whose settings are made: a new connection has the server's defaults. */
  readonly #prepared = new WeakSet<PoolClient>();
  #isReachable = true;
  #closing: Promise<void> | undefined;

  constructor(options: PostgresConnectionsOptions) {
    this.#log = options.log;
    this.#readers = this.#createPool(options.url, LIMITS.originReadersMax);
    this.#writers = this.#createPool(options.url, LIMITS.originWritersMax);
  }

  /** Whether the last attempt to connect succeeded. */
  get isReachable(): boolean {
    return this.#isReachable;
  }

  /** Runs one statement by itself, and commits it. Fails with `busy` when too many are waiting already. */
  async run<Row extends object>(
    statement: Statement,
    values: ReadonlyArray<unknown>,
  ): Promise<Row[]> {
    if (this.#readCount >= LIMITS.originReadsMax) {
      throw new KvError("busy", `${this.#readCount} reads wait for the database already`);
    }
    this.#readCount += 1;
    try {
      return await this.#readerSlots.run(() =>
        this.#use(this.#readers, async (client) => runOn<Row>(client, statement, values)),
      );
    } catch (error) {
      throw databaseError(error);
    } finally {
      this.#readCount -= 1;
    }
  }

  /**
   * Runs a transaction: what `plan` reads, then its changes and the commit. Resolves when it is committed
   * on disk. After `storage_failed` and `busy` nothing of it was kept; after `origin_unreachable` it may
   * have been committed all the same.
   */
  async transaction<Result>(plan: (run: RunStatement) => Promise<Plan<Result>>): Promise<Result> {
    return this.#writerSlots.run(() =>
      this.#use(this.#writers, async (client) => {
        const session: RunStatement = (statement, values) => runOn(client, statement, values);
        try {
          // Not awaited by itself: the first statements travel with it.
          const begun = client.query("BEGIN ISOLATION LEVEL READ COMMITTED");
          const [, { changes, result }] = await Promise.all([begun, plan(session)]);
          await commit(client, changes);
          return result;
        } catch (error) {
          throw databaseError(error);
        }
      }),
    );
  }

  /** Waits for what is under way. May be called twice. */
  close(): Promise<void> {
    this.#closing ??= Promise.all([this.#readers.end(), this.#writers.end()]).then(() => {});
    return this.#closing;
  }

  async #use<Result>(pool: Pool, action: (client: PoolClient) => Promise<Result>): Promise<Result> {
    if (this.#closing !== undefined) throw new KvError("closed", "the origin is closed");
    const client = await this.#acquire(pool);
    try {
      const result = await action(client);
      client.release();
      return result;
    } catch (error) {
      // A connection on which anything failed is not looked at again: a new one costs a few milliseconds.
      client.release(true);
      throw error;
    }
  }

  async #acquire(pool: Pool): Promise<PoolClient> {
    let client: PoolClient | undefined;
    try {
      client = await pool.connect();
      if (!this.#prepared.has(client)) {
        await client.query(sessionSettings());
        this.#prepared.add(client);
      }
    } catch (cause) {
      client?.release(true);
      if (this.#isReachable) this.#log.error({ err: cause }, "the database can't be reached");
      this.#isReachable = false;
      throw new KvError("origin_unreachable", "the database can't be reached", { cause });
    }
    if (!this.#isReachable) this.#log.info({}, "the database can be reached again");
    this.#isReachable = true;
    return client;
  }

  #createPool(url: string, max: number): Pool {
    const pool = new Pool({
      connectionString: url,
      max,
      connectionTimeoutMillis: LIMITS.originConnectMs,
      query_timeout: LIMITS.originAnswerMs,
      idleTimeoutMillis: LIMITS.originIdleMs,
      keepAlive: true,
      pipeline: true,
      application_name: "atoll-kv",
      types: postgresTypes,
    });
    // A connection that is lost while it is used says so to its statements, too; while it is not, to nobody.
    pool.on("connect", (client) => client.on("error", () => {}));
    pool.on("error", (err) =>
      this.#log.warn({ err }, "an idle connection to the database was lost"),
    );
    return pool;
  }
}

async function runOn<Row extends object>(
  client: PoolClient,
  { name, text }: Statement,
  values: ReadonlyArray<unknown>,
): Promise<Row[]> {
  const { rows } = await client.query<Row>({ name, text, values: [...values] });
  return rows;
}

/** Runs the changes and commits. Fails unless the database has said that all of it is committed. */
async function commit(client: PoolClient, changes: Iterable<Change>): Promise<void> {
  const underWay: Array<Promise<unknown>> = [];
  for (const { statement, values } of changes) {
    underWay.push(handled(runOn(client, statement, values)));
    if (underWay.length >= CHANGES_UNDER_WAY_MAX) await underWay.shift();
  }
  const committed = handled(client.query("COMMIT"));
  // A change that was refused leaves nothing to commit: then this fails here, and the answer is known.
  await Promise.all(underWay);
  let command: string;
  try {
    ({ command } = await committed);
  } catch (cause) {
    throw new KvError("origin_unreachable", UNKNOWN_OUTCOME, { cause });
  }
  if (command !== "COMMIT") throw new KvError("storage_failed", `the commit ended in ${command}`);
}

const UNKNOWN_OUTCOME =
  "the answer to a commit was lost: the write may or may not have happened, repeat it";

/** The same promise. If it fails before somebody waits for it, that is no unhandled rejection. */
function handled<Result>(promise: Promise<Result>): Promise<Result> {
  promise.catch(() => {});
  return promise;
}
