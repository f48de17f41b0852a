import type { Kysely } from "kysely";
import type { Migration } from "kysely/migration";

/** Which workers are Pages projects, and the secrets of their next deployments. */
export const pages: Migration = {
  async up(database: Kysely<unknown>): Promise<void> {
    await database.schema
      .createTable("pages_projects")
      .addColumn("worker_id", "text", (column) =>
        column.primaryKey().references("workers.id").onDelete("cascade"),
      )
      .addColumn("production_branch", "text", (column) => column.notNull())
      .addColumn("environments", "text", (column) => column.notNull())
      .execute();
    await database.schema
      .createTable("pages_secrets")
      .addColumn("worker_id", "text", (column) =>
        column.notNull().references("pages_projects.worker_id").onDelete("cascade"),
      )
      .addColumn("environment", "text", (column) => column.notNull())
      .addColumn("name", "text", (column) => column.notNull())
      .addColumn("sealed", "text", (column) => column.notNull())
      .addPrimaryKeyConstraint("pages_secrets_key", ["worker_id", "environment", "name"])
      .execute();
  },
};
