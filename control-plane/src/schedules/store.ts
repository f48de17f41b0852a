import { randomUUID } from "node:crypto";
import type { AccountId, WorkerName } from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import { LIMITS } from "../limits.ts";
import { OccurrenceStatus, type ScheduleStatus, type StoredSchedule } from "./schemas.ts";

/** The rows of schedules. Removing one removes its occurrences. */
export class ScheduleStore {
  async list(
    database: Database | Transaction,
    workerId: string,
  ): Promise<ReadonlyArray<StoredSchedule>> {
    const rows = await database
      .selectFrom("schedules")
      .selectAll()
      .where("worker_id", "=", workerId)
      .orderBy("cron")
      .execute();
    return rows.map((row) => ({
      id: row.id,
      cron: row.cron,
      createdAt: row.created_at,
      nextAt: row.next_at,
    }));
  }

  /** Which of some workers have schedules. */
  async scheduledOf(
    database: Database | Transaction,
    workerIds: ReadonlyArray<string>,
  ): Promise<ReadonlySet<string>> {
    const rows = await database
      .selectFrom("schedules")
      .select("worker_id")
      .distinct()
      .where("worker_id", "in", workerIds)
      .execute();
    return new Set(rows.map(({ worker_id: id }) => id));
  }

  async insert(
    transaction: Transaction,
    schedule: Omit<StoredSchedule, "id"> & { readonly workerId: string },
  ): Promise<void> {
    const { workerId, cron, createdAt, nextAt } = schedule;
    const row = {
      id: randomUUID(),
      worker_id: workerId,
      cron,
      created_at: createdAt,
      next_at: nextAt,
    };
    await transaction.insertInto("schedules").values(row).execute();
  }

  async remove(transaction: Transaction, id: string): Promise<void> {
    await transaction.deleteFrom("schedules").where("id", "=", id).execute();
  }

  /** The schedules of an account with their latest occurrences, by worker. */
  async describe(
    database: Database,
    filter: { readonly account: AccountId; readonly worker: WorkerName | undefined },
  ): Promise<ReadonlyArray<ScheduleStatus>> {
    let query = database
      .selectFrom("schedules")
      .innerJoin("workers", "workers.id", "schedules.worker_id")
      .select(["schedules.id", "workers.name", "cron", "schedules.created_at", "next_at"])
      .where("account_id", "=", filter.account)
      .orderBy("workers.name")
      .orderBy("cron");
    if (filter.worker !== undefined) query = query.where("workers.name", "=", filter.worker);
    const described: ScheduleStatus[] = [];
    for (const row of await query.execute()) {
      described.push({
        worker: row.name,
        cron: row.cron,
        createdAt: row.created_at,
        nextAt: row.next_at,
        occurrences: await this.#latest(database, row.id),
      });
    }
    return described;
  }

  async #latest(database: Database, schedule: string): Promise<OccurrenceStatus[]> {
    const rows = await database
      .selectFrom("occurrences")
      .selectAll()
      .where("schedule_id", "=", schedule)
      .orderBy("scheduled_at", "desc")
      .limit(LIMITS.occurrencesListedMax)
      .execute();
    return rows.map((row) =>
      OccurrenceStatus.parse({
        scheduledAt: row.scheduled_at,
        state: row.state,
        attempts: row.attempts,
        node: row.node,
        outcome: row.outcome,
        wallMs: row.wall_ms,
        endedAt: row.ended_at,
      }),
    );
  }
}
