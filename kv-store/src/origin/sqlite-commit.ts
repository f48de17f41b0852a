import type { KvCondition, KvOperation, KvRecord } from "../entry.ts";
import type { KvError } from "../errors.ts";
import type { NamespaceId, Revision } from "../names.ts";
import { StateSum } from "../state-digest.ts";
import { bytesMaxOf } from "./log-horizon.ts";
import { notFoundError, preconditionError } from "./origin-errors.ts";
import { growthOf, type AccountBudget } from "./quota.ts";
import type { SqliteLog } from "./sqlite-log.ts";
import type { QueuedWrite } from "./sqlite-queue.ts";
import type { SqliteQuotas } from "./sqlite-quotas.ts";
import type { GrowingNamespace, SqliteTables } from "./sqlite-tables.ts";
import type { SqliteValues } from "./sqlite-values.ts";

export interface SqliteCommitOptions {
  readonly tables: SqliteTables;
  readonly history: SqliteLog;
  readonly quotas: SqliteQuotas;
  readonly values: SqliteValues;
  /** Bytes of a namespace's log; past it the oldest records go. */
  readonly logBytesMax: number;
  readonly nowMs: number;
  /** By the clock by which entries expire. */
  readonly nowSeconds: number;
}

/**
 * What one transaction writes. The rows of its namespaces and quotas are read once, and stored at its end: they
 * would cost as much as the writes themselves. Every call is part of that transaction.
 */
export class SqliteCommit {
  readonly #options: SqliteCommitOptions;
  readonly #namespaces = new Map<NamespaceId, GrowingNamespace | undefined>();
  readonly #budgets = new Map<string, AccountBudget | undefined>();
  readonly #records = new Map<NamespaceId, KvRecord[]>();

  constructor(options: SqliteCommitOptions) {
    this.#options = options;
  }

  /** What was written, in the order of each namespace's revisions. */
  get records(): ReadonlyMap<NamespaceId, ReadonlyArray<KvRecord>> {
    return this.#records;
  }

  /** Makes a write; returns the revision of its last operation, or why nothing of it was made. */
  write(write: QueuedWrite): Revision | KvError {
    const namespace = this.#namespace(write.namespace);
    if (namespace === undefined) return notFoundError(write.namespace);
    const refusal =
      this.#options.values.refusal(write.operations) ??
      this.#refusal(namespace, write.conditions) ??
      this.#charge(namespace, write);
    if (refusal !== undefined) return refusal;
    if (write.isUnmetered) namespace.row.rewritten_ms = this.#options.nowMs;
    return this.#append(namespace, write);
  }

  /** Deletes what nobody charges for. */
  expire(id: NamespaceId, operations: ReadonlyArray<KvOperation>): void {
    const namespace = this.#namespace(id);
    if (namespace === undefined) throw notFoundError(id);
    this.#append(namespace, { namespace: id, operations });
  }

  /** Stores what was counted. Nothing may be written after it. */
  end(): void {
    const { tables, history, quotas, nowMs } = this.#options;
    const horizon = { bytesMax: this.#options.logBytesMax };
    for (const [id, records] of this.#records) {
      const namespace = this.#namespaces.get(id);
      if (namespace === undefined) continue;
      const bytesMax = bytesMaxOf(horizon, { rewrittenMs: namespace.row.rewritten_ms, nowMs });
      history.trimSize(namespace.row, { added: records.length, bytesMax });
      tables.saveNamespace(namespace.row);
    }
    for (const budget of this.#budgets.values()) {
      if (budget !== undefined) quotas.saveCounts(budget);
    }
  }

  #namespace(id: NamespaceId): GrowingNamespace | undefined {
    if (this.#namespaces.has(id)) return this.#namespaces.get(id);
    const row = this.#options.tables.namespace(id);
    const namespace = row && { row, sum: new StateSum(row.digest) };
    this.#namespaces.set(id, namespace);
    return namespace;
  }

  /** What is wrong with the first condition that is not true by now. */
  #refusal({ row }: GrowingNamespace, conditions: ReadonlyArray<KvCondition>): KvError | undefined {
    const { tables, nowSeconds } = this.#options;
    for (const condition of conditions) {
      const found = tables.liveRevision(row.id, condition.key, nowSeconds);
      if (found !== condition.revision) return preconditionError(condition, found);
    }
    return undefined;
  }

  /** Charges a write to its account, if that has a quota; returns why it is refused. */
  #charge(
    { row }: GrowingNamespace,
    { operations, isUnmetered }: QueuedWrite,
  ): KvError | undefined {
    const budget = row.account === null ? undefined : this.#budget(row.account);
    if (budget === undefined) return undefined;
    const growth = growthOf(operations, (key) => this.#options.tables.bytesAt(row.id, key));
    return budget.charge({ ...growth, writes: operations.length, isUnmetered });
  }

  #budget(account: string): AccountBudget | undefined {
    if (!this.#budgets.has(account)) {
      const { quotas, nowMs } = this.#options;
      this.#budgets.set(account, quotas.budget(account, nowMs));
    }
    return this.#budgets.get(account);
  }

  #append(
    namespace: GrowingNamespace,
    { namespace: id, operations }: Pick<QueuedWrite, "namespace" | "operations">,
  ): Revision {
    const { tables, nowMs } = this.#options;
    let records = this.#records.get(id);
    if (records === undefined) this.#records.set(id, (records = []));
    for (const operation of operations) records.push(tables.append(namespace, operation, nowMs));
    return namespace.row.revision as Revision; // as `append` has counted it
  }
}
