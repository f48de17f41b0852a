import { AccountId, WorkerName, type NodeName, type ScheduledRun } from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import type { Schema } from "../database/schema.ts";
import { LIMITS } from "../limits.ts";
import type { OccurrenceOutcome, RunnableOccurrence } from "./schemas.ts";

interface DueSchedule {
  readonly id: string;
  readonly cron: string;
  readonly nextAt: string;
}

interface NewOccurrence {
  readonly scheduledAt: string;
  /** Too old to be made up for. */
  readonly isMissed: boolean;
}

/** What an attempt came to: `retryAt` is absent when it was the last one. */
interface AttemptEnd {
  readonly outcome: OccurrenceOutcome;
  readonly wallMs: number | null;
  readonly at: string;
  readonly retryAt: string | undefined;
}

type OccurrenceState = Schema["occurrences"]["state"];

/**
 * The rows of occurrences. Every change of one names the state that it was seen in, and does nothing when
 * that is no longer so: another control plane may have been faster.
 */
export class OccurrenceStore {
  /** Schedules that came to their next occurrence. */
  async dueSchedules(database: Database, now: string): Promise<ReadonlyArray<DueSchedule>> {
    const rows = await database
      .selectFrom("schedules")
      .select(["id", "cron", "next_at"])
      .where("next_at", "<=", now)
      .orderBy("next_at")
      .limit(LIMITS.occurrencesPerLook)
      .execute();
    return rows.map(({ id, cron, next_at }) => ({ id, cron, nextAt: next_at }));
  }

  /** Makes rows of what a schedule came to, and moves it past them; one transaction, so none is lost. */
  async bringForward(
    transaction: Transaction,
    schedule: DueSchedule,
    to: { readonly occurrences: ReadonlyArray<NewOccurrence>; readonly nextAt: string },
  ): Promise<void> {
    const { numUpdatedRows } = await transaction
      .updateTable("schedules")
      .set({ next_at: to.nextAt })
      .where("id", "=", schedule.id)
      .where("next_at", "=", schedule.nextAt)
      .executeTakeFirst();
    if (numUpdatedRows === 0n) return;
    const rows = to.occurrences.map(({ scheduledAt, isMissed }) => ({
      id: `${schedule.id}@${scheduledAt}`,
      schedule_id: schedule.id,
      scheduled_at: scheduledAt,
      state: isMissed ? ("missed" as const) : ("pending" as const),
      due_at: scheduledAt,
      attempts: 0,
      node: null,
      outcome: null,
      wall_ms: null,
      ended_at: null,
    }));
    if (rows.length > 0) await transaction.insertInto("occurrences").values(rows).execute();
    await this.#forgetOldest(transaction, schedule.id);
  }

  /** Those whose time for an attempt has come, the longest waiting first. */
  async pending(database: Database, now: string): Promise<ReadonlyArray<RunnableOccurrence>> {
    const rows = await database
      .selectFrom("occurrences")
      .innerJoin("schedules", "schedules.id", "occurrences.schedule_id")
      .innerJoin("workers", "workers.id", "schedules.worker_id")
      .select(["occurrences.id", "account_id", "name", "cron", "scheduled_at", "attempts"])
      .where("state", "=", "pending")
      .where("due_at", "<=", now)
      .orderBy("due_at")
      .limit(LIMITS.occurrencesPerLook)
      .execute();
    return rows.map((row) => ({
      id: row.id,
      account: AccountId.parse(row.account_id),
      worker: WorkerName.parse(row.name),
      cron: row.cron,
      scheduledAt: row.scheduled_at,
      attempts: row.attempts,
    }));
  }

  /** Runs whose node was not heard of in time. */
  async overdue(database: Database, now: string): Promise<ReadonlyArray<ScheduledRun>> {
    const rows = await database
      .selectFrom("occurrences")
      .select(["id", "attempts"])
      .where("state", "=", "claimed")
      .where("due_at", "<=", now)
      .limit(LIMITS.occurrencesPerLook)
      .execute();
    return rows.map(({ id, attempts }) => ({ occurrence: id, attempt: attempts }));
  }

  /** Runs that a node was given and has not told the end of. */
  async heldBy(database: Database, node: NodeName): Promise<ReadonlyArray<ScheduledRun>> {
    const rows = await database
      .selectFrom("occurrences")
      .select(["id", "attempts"])
      .where("state", "=", "claimed")
      .where("node", "=", node)
      .execute();
    return rows.map(({ id, attempts }) => ({ occurrence: id, attempt: attempts }));
  }

  /** Gives an occurrence to a node. Resolves with `false` when it is no longer there to be given. */
  async claim(
    database: Database,
    seen: RunnableOccurrence,
    to: { readonly node: NodeName; readonly leaseEndsAt: string },
  ): Promise<boolean> {
    const { numUpdatedRows } = await database
      .updateTable("occurrences")
      .set({
        state: "claimed",
        node: to.node,
        due_at: to.leaseEndsAt,
        attempts: seen.attempts + 1,
      })
      .where("id", "=", seen.id)
      .where("state", "=", "pending")
      .where("attempts", "=", seen.attempts)
      .executeTakeFirst();
    return numUpdatedRows === 1n;
  }

  /** Lets a node keep a run that it has, also one that was held for lost and nobody else has yet. */
  async renew(
    database: Database,
    run: ScheduledRun,
    to: { readonly node: NodeName; readonly leaseEndsAt: string },
  ): Promise<void> {
    await database
      .updateTable("occurrences")
      .set({ state: "claimed", due_at: to.leaseEndsAt })
      .where("id", "=", run.occurrence)
      .where("attempts", "=", run.attempt)
      .where("node", "=", to.node)
      .where((row) =>
        row.or([
          row("state", "=", "claimed"),
          row.and([row("state", "=", "pending"), row("outcome", "=", "nodeLost")]),
        ]),
      )
      .execute();
  }

  /** Keeps what an attempt came to, when that is the latest one and its state is one of these. */
  async end(
    database: Database,
    seen: ScheduledRun & { readonly states: ReadonlyArray<OccurrenceState> },
    { outcome, wallMs, at, retryAt }: AttemptEnd,
  ): Promise<void> {
    await database
      .updateTable("occurrences")
      .set({
        outcome,
        wall_ms: wallMs,
        ...(retryAt === undefined
          ? { state: "ended", ended_at: at }
          : { state: "pending", due_at: retryAt }),
      })
      .where("id", "=", seen.occurrence)
      .where("attempts", "=", seen.attempt)
      .where("state", "in", [...seen.states])
      .execute();
  }

  /** Gives up an occurrence that no node was there for in time. */
  async miss(database: Database, seen: RunnableOccurrence): Promise<void> {
    await database
      .updateTable("occurrences")
      .set({ state: "missed" })
      .where("id", "=", seen.id)
      .where("state", "=", "pending")
      .where("attempts", "=", 0)
      .execute();
  }

  async #forgetOldest(transaction: Transaction, schedule: string): Promise<void> {
    const oldest = await transaction
      .selectFrom("occurrences")
      .select("scheduled_at")
      .where("schedule_id", "=", schedule)
      .orderBy("scheduled_at", "desc")
      .offset(LIMITS.occurrencesKeptMax)
      .limit(1)
      .executeTakeFirst();
    if (oldest === undefined) return;
    await transaction
      .deleteFrom("occurrences")
      .where("schedule_id", "=", schedule)
      .where("scheduled_at", "<=", oldest.scheduled_at)
      .where("state", "in", ["ended", "missed"])
      .execute();
  }
}
