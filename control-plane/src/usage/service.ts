import type { Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import type { NodeName, UsageBatch } from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import { ControlPlaneError } from "../errors.ts";
import type { Principal } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";
import { AccountStore } from "../accounts/store.ts";
import { readAccountDay, type AccountDay } from "./account-day.ts";
import type { UsagePeriod, UsageQuery, WorkerUsage } from "./schemas.ts";
import { UsageStore } from "./store.ts";

const HOUR_MS = 60 * 60 * 1_000;

/** What workers used: nodes report it in batches, each of which counts once, and accounts ask for it. */
export class UsageService {
  readonly #database: Database;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #store = new UsageStore();
  readonly #accounts = new AccountStore();

  constructor(parts: { readonly database: Database; readonly clock: Clock; readonly log: Logger }) {
    this.#database = parts.database;
    this.#clock = parts.clock;
    this.#log = parts.log;
  }

  /**
   * Stores a batch unless it, or a later one, was stored before; rows and number commit together. Resolves
   * with the number of the last batch that is stored of this node.
   */
  async record(node: NodeName, batch: UsageBatch): Promise<number> {
    // Beside other writers: the node's own row, which is changed first, keeps its batches apart, and no
    // two nodes add to the same rows.
    const transactions = this.#database.transaction().setIsolationLevel("read committed");
    return transactions.execute(async (transaction) => {
      const { sequence } = batch;
      if (!(await this.#store.advance(transaction, { node, sequence }))) {
        const last = await this.#store.lastSequence(transaction, node);
        // Enrolled anew while its old connection was still there: nobody may speak in its name any more.
        if (last === undefined) throw new Error(`the node ${node} is not enrolled`);
        return last;
      }
      await this.#store.prune(transaction, hourOf(this.#clock.nowMs() - LIMITS.usageKeptMs));
      // Last, because all that add to a day wait for each other then.
      const unknown = await this.#store.add(transaction, { node, rows: batch.rows });
      if (unknown.length > 0) {
        this.#log.warn(
          { node, sequence, workers: unknown },
          "usage of accounts that do not exist is not kept",
        );
      }
      return sequence;
    });
  }

  /** By worker and version, over the hours of the period, and of today's quota. Rejected with `invalid_body`. */
  async read(
    principal: Principal,
    query: UsageQuery,
  ): Promise<{
    readonly period: UsagePeriod;
    readonly workers: ReadonlyArray<WorkerUsage>;
    readonly today: AccountDay;
  }> {
    const period = this.#periodOf(query);
    const workers = await this.#store.read(this.#database, {
      ...period,
      account: principal.account,
      worker: query.worker,
    });
    const { account } = principal;
    const { quota } = await this.#accounts.configured(this.#database, account);
    const nowMs = this.#clock.nowMs();
    const today = await readAccountDay(this.#database, { account, quota, nowMs });
    return { period, workers, today };
  }

  #periodOf(query: UsageQuery): UsagePeriod {
    // The hour that is not over yet is part of what was used until now.
    const toMs = query.to === undefined ? this.#clock.nowMs() + HOUR_MS : Date.parse(query.to);
    const fromMs = query.from === undefined ? toMs - LIMITS.usagePeriodMs : Date.parse(query.from);
    if (fromMs < toMs) return { from: hourOf(fromMs), to: hourOf(toMs) };
    throw new ControlPlaneError(
      "invalid_body",
      `query: from: ${new Date(fromMs).toISOString()} is not before ${new Date(toMs).toISOString()}`,
    );
  }
}

function hourOf(ms: number): string {
  return new Date(Math.floor(ms / HOUR_MS) * HOUR_MS).toISOString();
}
