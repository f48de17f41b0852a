import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PostgresServer } from "@atoll/kv-store/test-support/postgres-server";
import type { Database, DatabasePlace } from "../database/database.ts";
import { migrate } from "../database/migrate.ts";
import { DATABASE_FILE } from "../database/open-database.ts";
import { POSTGRES_SCHEMA } from "../database/postgres-connections.ts";
import { connectPostgres } from "../database/postgres-database.ts";
import { connectSqlite } from "../database/sqlite-database.ts";

/** A database system, and empty places in it for the tests of a file. */
export interface TestEngine {
  /**
   * Whether one process may open a place several times and write through each. Two connections to an SQLite
   * file in one process wait for each other in its only thread; other processes are what its tests start.
   */
  readonly isShared: boolean;
  createPlace(): Promise<DatabasePlace>;
  /** Opens a place with the tables as they were after an earlier migration. */
  openAsOf(place: DatabasePlace, migration: string): Promise<Database>;
  /** Ends it with all that is in it. */
  stop(): Promise<void>;
}

/** Every engine, by its name: suites run on each. */
export const ENGINES: Readonly<Record<"SQLite" | "PostgreSQL", () => Promise<TestEngine>>> = {
  SQLite: startSqlite,
  PostgreSQL: startPostgres,
};

async function startSqlite(): Promise<TestEngine> {
  const parent = await mkdtemp(join(tmpdir(), "atoll-sqlite-"));
  return {
    isShared: false,
    createPlace: async () => ({ dataDirectory: await mkdtemp(join(parent, "data-")) }),
    openAsOf: async ({ dataDirectory }, target) => {
      const database = connectSqlite(join(dataDirectory, DATABASE_FILE));
      await migrate(database, { target });
      return database;
    },
    stop: () => rm(parent, { recursive: true }),
  };
}

async function startPostgres(): Promise<TestEngine> {
  const server = await PostgresServer.start();
  let databases = 0;
  return {
    isShared: true,
    createPlace: async () => {
      databases += 1;
      const name = `english_${databases}`;
      // One that sorts as people do: ours must not depend on it.
      const locale = "LOCALE_PROVIDER icu ICU_LOCALE 'en' LC_COLLATE 'C' LC_CTYPE 'C'";
      await server.query("postgres", `CREATE DATABASE ${name} TEMPLATE template0 ${locale}`);
      return { dataDirectory: "nowhere", databaseUrl: server.url(name) };
    },
    openAsOf: async ({ databaseUrl = "" }, target) => {
      const database = connectPostgres(databaseUrl, "migration");
      await migrate(database, { schema: POSTGRES_SCHEMA, target });
      return database;
    },
    stop: () => server.remove(),
  };
}
