import type { Kysely } from "kysely";
import type { Migration } from "kysely/migration";

/** When workers are called without a request, and what became of each occurrence. */
export const schedules: Migration = {
  async up(database: Kysely<unknown>): Promise<void> {
    await database.schema
      .createTable("schedules")
      .addColumn("id", "text", (column) => column.primaryKey())
      .addColumn("worker_id", "text", (column) =>
        column.notNull().references("workers.id").onDelete("cascade"),
      )
      .addColumn("cron", "text", (column) => column.notNull())
      .addColumn("created_at", "text", (column) => column.notNull())
      .addColumn("next_at", "text", (column) => column.notNull())
      .addUniqueConstraint("schedules_of_worker", ["worker_id", "cron"])
      .execute();
    await database.schema
      .createIndex("schedules_by_next")
      .on("schedules")
      .column("next_at")
      .execute();
    await database.schema
      .createTable("occurrences")
      .addColumn("id", "text", (column) => column.primaryKey())
      .addColumn("schedule_id", "text", (column) =>
        column.notNull().references("schedules.id").onDelete("cascade"),
      )
      .addColumn("scheduled_at", "text", (column) => column.notNull())
      .addColumn("state", "text", (column) => column.notNull())
      .addColumn("due_at", "text", (column) => column.notNull())
      .addColumn("attempts", "integer", (column) => column.notNull())
      .addColumn("node", "text")
      .addColumn("outcome", "text")
      .addColumn("wall_ms", "integer")
      .addColumn("ended_at", "text")
      // Two control planes that look at the same time make it once.
      .addUniqueConstraint("occurrences_of_schedule", ["schedule_id", "scheduled_at"])
      .execute();
    await database.schema
      .createIndex("occurrences_by_due")
      .on("occurrences")
      .columns(["state", "due_at"])
      .execute();
  },
};
