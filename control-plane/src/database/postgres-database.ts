import type { Log } from "@atoll/kv-store";
import {
  HandleEmptyInListsPlugin,
  Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  replaceWithNoncontingentExpression,
} from "kysely";
import { BytewiseText } from "./bytewise-text.ts";
import type { Database } from "./database.ts";
import { migrate } from "./migrate.ts";
import { POSTGRES_SCHEMA, PostgresConnections } from "./postgres-connections.ts";
import { PostgresDriver } from "./postgres-driver.ts";
import type { Schema } from "./schema.ts";

/**
 * Opens or creates the tables in the PostgreSQL database at `url`, in a schema of their own, and brings them
 * up to date. The role needs `CREATE` on the database for the first start. End it with `destroy()`.
 */
export async function openPostgresDatabase(url: string, log?: Log): Promise<Database> {
  await (await openForMigration(url)).destroy();
  return connectPostgres(url, "calls", log);
}

/** The same, on one connection without time limits. */
export async function openForMigration(url: string): Promise<Database> {
  const migrating = connectPostgres(url, "migration");
  try {
    await migrate(migrating, { schema: POSTGRES_SCHEMA });
    return migrating;
  } catch (error) {
    await migrating.destroy();
    throw error;
  }
}

/** The same without a look at its tables. What is for a migration has no time limits. */
export function connectPostgres(url: string, purpose: "calls" | "migration", log?: Log): Database {
  const connections = new PostgresConnections({ url, purpose, log });
  return new Kysely<Schema>({
    dialect: {
      createAdapter: () => new PostgresAdapter(),
      createDriver: () => new PostgresDriver(connections),
      createIntrospector: (database) => new PostgresIntrospector(database),
      createQueryCompiler: () => new PostgresQueryCompiler(),
    },
    plugins: [
      // SQLite takes `in ()`.
      new HandleEmptyInListsPlugin({ strategy: replaceWithNoncontingentExpression }),
      ...(purpose === "migration" ? [new BytewiseText()] : []),
    ],
  });
}
