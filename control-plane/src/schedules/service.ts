import type { Database } from "../database/database.ts";
import type { Mutations } from "../desired-state/mutations.ts";
import { ControlPlaneError } from "../errors.ts";
import type { Principal } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";
import { workerNotFound } from "../versions/publisher.ts";
import type { Target } from "../versions/service.ts";
import { WorkerStore } from "../workers/store.ts";
import { CronError, parseCron, type Cron } from "./cron.ts";
import type { SchedulesQuery, ScheduleStatus, StoredSchedule } from "./schemas.ts";
import { ScheduleStore } from "./store.ts";

/** When workers are called without a request: what is set, and what became of it. */
export class SchedulesService {
  readonly #database: Database;
  readonly #mutations: Mutations;
  readonly #workers = new WorkerStore();
  readonly #schedules = new ScheduleStore();

  constructor(parts: { readonly database: Database; readonly mutations: Mutations }) {
    this.#database = parts.database;
    this.#mutations = parts.mutations;
  }

  /** Rejected with `worker_not_found`. */
  async list({ principal, name }: Target): Promise<ReadonlyArray<StoredSchedule>> {
    const address = { account: principal.account, name };
    const worker = await this.#workers.find(this.#database, address);
    if (worker === undefined) throw workerNotFound(name);
    return this.#schedules.list(this.#database, worker.id);
  }

  /**
   * Makes these all that the worker has. One that it had already goes on as it was; what a removed one had
   * still to do is dropped. Rejected with `cron_invalid`, `schedules_exceeded` or `worker_not_found`, and
   * nothing is changed.
   */
  async replace(
    target: Target,
    expressions: ReadonlyArray<string>,
  ): Promise<ReadonlyArray<StoredSchedule>> {
    const wanted = new Map(expressions.map((text) => [text.trim(), parse(text)]));
    if (wanted.size > LIMITS.schedulesMax) {
      throw new ControlPlaneError(
        "schedules_exceeded",
        `'${target.name}' would have ${wanted.size} schedules, the limit is ${LIMITS.schedulesMax}`,
      );
    }
    const { principal, name } = target;
    return this.#mutations.run(principal, async (mutation) => {
      const { transaction, now } = mutation;
      const worker = await this.#workers.find(transaction, { account: principal.account, name });
      if (worker === undefined) throw workerNotFound(name);
      const before = await this.#schedules.list(transaction, worker.id);
      const removed = before.filter(({ cron }) => !wanted.has(cron));
      const known = new Set(before.map(({ cron }) => cron));
      const added = [...wanted].filter(([text]) => !known.has(text));
      // wrangler sends the same schedules with every deploy: what changes nothing is no mutation.
      if (removed.length + added.length === 0) return before;
      for (const { id } of removed) await this.#schedules.remove(transaction, id);
      for (const [text, cron] of added) {
        const nextAt = new Date(cron.next(Date.parse(now))).toISOString();
        const schedule = { workerId: worker.id, cron: text, createdAt: now, nextAt };
        await this.#schedules.insert(transaction, schedule);
      }
      // Nodes only have to know whether there is any: a cell that can be called costs a little more.
      if (known.size > 0 !== wanted.size > 0) await mutation.changed(name);
      await mutation.audit({
        action: "schedules.replace",
        subject: name,
        before: { crons: [...known] },
        after: { crons: [...wanted.keys()] },
      });
      return this.#schedules.list(transaction, worker.id);
    });
  }

  /** The schedules of the account, or of one worker, with what became of them lately. */
  async describe(
    { account }: Principal,
    { worker }: SchedulesQuery,
  ): Promise<ReadonlyArray<ScheduleStatus>> {
    return this.#schedules.describe(this.#database, { account, worker });
  }
}

function parse(expression: string): Cron {
  try {
    return parseCron(expression);
  } catch (error) {
    if (!(error instanceof CronError)) throw error;
    const shown = expression.slice(0, 100).replaceAll(/\p{Cc}/gu, "\ufffd");
    const message = `invalid cron string '${shown}': ${error.message}`;
    throw new ControlPlaneError("cron_invalid", message, { cause: error });
  }
}
