import type { Log } from "@atoll/kv-store";
import { Pool, type CustomTypesConfig, type PoolClient } from "pg";
import { LIMITS } from "../limits.ts";
import { databaseUnavailable } from "./unavailable.ts";

/** The schema that holds the tables: a database may have others beside it, such as the key-value store's. */
export const POSTGRES_SCHEMA = "atoll";

/** The connections to the database, made when they are needed and made again when they were lost. */
export class PostgresConnections {
  /** That the database went, and that it is back. */
  readonly #log: Log | undefined;
  readonly #pool: Pool;
  /** Whose settings are made: a new connection has the server's defaults. */
  readonly #prepared = new WeakSet<PoolClient>();
  readonly #settings: string;
  #isReachable = true;

  constructor(options: {
    readonly url: string;
    readonly purpose: "calls" | "migration";
    readonly log: Log | undefined;
  }) {
    this.#log = options.log;
    this.#settings = sessionSettings(options.purpose);
    const isForCalls = options.purpose === "calls";
    this.#pool = new Pool({
      connectionString: options.url,
      max: isForCalls ? LIMITS.databaseConnectionsMax : 1,
      connectionTimeoutMillis: LIMITS.databaseConnectMs,
      ...(isForCalls ? { query_timeout: LIMITS.databaseAnswerMs } : {}),
      idleTimeoutMillis: LIMITS.databaseIdleMs,
      keepAlive: true,
      application_name: "atoll-control-plane",
      types: TYPES,
    });
    // A connection that is lost while it is used says so to its statements, too; while it is not, to nobody.
    this.#pool.on("connect", (client) => client.on("error", () => {}));
    this.#pool.on("error", (err) =>
      this.#log?.warn({ err }, "an idle connection to the database was lost"),
    );
  }

  /** Rejected with `database_unavailable` when there is none in time. Ends with `release`. */
  async acquire(): Promise<PoolClient> {
    let client: PoolClient | undefined;
    try {
      client = await this.#pool.connect();
      if (!this.#prepared.has(client)) {
        await client.query(this.#settings);
        this.#prepared.add(client);
      }
    } catch (cause) {
      client?.release(true);
      this.#note({ isReachable: false, cause });
      throw databaseUnavailable("The database can't be reached: try again soon", cause);
    }
    this.#note({ isReachable: true });
    return client;
  }

  /** Waits for what is under way. */
  async close(): Promise<void> {
    await this.#pool.end();
  }

  #note(now: { readonly isReachable: boolean; readonly cause?: unknown }): void {
    if (now.isReachable === this.#isReachable) return;
    this.#isReachable = now.isReachable;
    if (now.isReachable) this.#log?.info({}, "the database can be reached again");
    else this.#log?.error({ err: now.cause }, "the database can't be reached");
  }
}

/** What every connection is told first. */
function sessionSettings(purpose: "calls" | "migration"): string {
  const settings = {
    search_path: POSTGRES_SCHEMA,
    // Acknowledged is on disk, whatever the server's default is.
    synchronous_commit: "on",
    // What the planner thinks expensive is not: compiling a statement takes longer than any of ours.
    jit: "off",
    ...(purpose === "migration"
      ? {}
      : {
          statement_timeout: LIMITS.databaseStatementMs,
          lock_timeout: LIMITS.databaseLockMs,
          // A process that stops in the midst of a transaction must not hold up the others for long.
          idle_in_transaction_session_timeout: LIMITS.databaseIdleTransactionMs,
        }),
  };
  return Object.entries(settings)
    .map(([name, value]) => `SET ${name} = ${value}`)
    .join("; ");
}

const OID_INT8 = 20;
const OID_INT4 = 23;
const OID_NUMERIC = 1700;

/** How results are read: numbers as numbers, because none of ours, nor a sum of them, is over 2^53. */
const TYPES: CustomTypesConfig = {
  getTypeParser: (oid: number): ((text: string) => unknown) => {
    const isNumber = oid === OID_INT8 || oid === OID_INT4 || oid === OID_NUMERIC;
    return isNumber ? Number : (text) => text;
  },
};
