import assert from "node:assert/strict";
import type { Clock } from "@atoll/kv-store";
import type { AuditEntry } from "../audit/schemas.ts";
import { AuditStore, OTHER_ACCOUNT } from "../audit/store.ts";
import type { AccountId, WorkerName } from "../contract/index.ts";
import { latestNumber, nextNumber } from "../database/counters.ts";
import type { Database, Transaction } from "../database/database.ts";
import type { Actor } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";

/** One transaction that changes something for an account. */
export interface Mutation {
  readonly transaction: Transaction;
  /** The time that every row of this mutation carries. */
  readonly now: string;
  /** Appends to the outbox: nodes are told to look at this worker anew. */
  changed(worker: WorkerName): Promise<void>;
  /** Appends to the audit trail. Whatever calls `changed` calls this as well. */
  audit(entry: AuditEntry): Promise<void>;
  /** The same for what this takes from another account, whose trail does not tell who it was. */
  elsewhere(account: AccountId): Pick<Mutation, "changed" | "audit">;
}

const COUNTER = "state_revision";

/**
 * The only way in which the account's data is written: rows, outbox and audit trail commit together or
 * not at all, so that no revision is ever lost, and listeners hear of it after it is on disk.
 */
export class Mutations {
  readonly #database: Database;
  readonly #clock: Clock;
  readonly #auditTrail = new AuditStore();
  readonly #tellOthers: (() => void) | undefined;
  readonly #listeners = new Set<() => void>();

  constructor(parts: {
    readonly database: Database;
    readonly clock: Clock;
    /** Called after each commit that appended to the outbox, for whoever listens elsewhere. */
    readonly tellOthers?: () => void;
  }) {
    this.#database = parts.database;
    this.#clock = parts.clock;
    this.#tellOthers = parts.tellOthers;
  }

  /** Runs `work` in one transaction. It must not wait for anything but that transaction. */
  async run<Result>(actor: Actor, work: (mutation: Mutation) => Promise<Result>): Promise<Result> {
    const now = new Date(this.#clock.nowMs()).toISOString();
    let isStateChanged = false;
    let isAudited = false;
    const result = await this.#database.transaction().execute(async (transaction) => {
      const inNameOf = (who: Actor): Pick<Mutation, "changed" | "audit"> => ({
        changed: async (worker) => {
          isStateChanged = true;
          await appendChange(transaction, { account: who.account, worker, now });
        },
        audit: async (entry) => {
          isAudited = true;
          await this.#auditTrail.append(transaction, entry, { actor: who, now });
        },
      });
      const worked = await work({
        transaction,
        now,
        ...inNameOf(actor),
        elsewhere: (account) => inNameOf({ account, tokenId: OTHER_ACCOUNT }),
      });
      assert(isAudited || !isStateChanged, "what nodes are told of is in the audit trail");
      return worked;
    });
    if (isStateChanged) {
      this.#tellOthers?.();
      this.hearOfChange();
    }
    return result;
  }

  /** Tells the listeners here, also of a commit of another control plane. */
  hearOfChange(): void {
    for (const listener of this.#listeners) listener();
  }

  /** Calls back after each commit that appended to the outbox. Returns its end. */
  onStateChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

/** The newest revision of the desired state; 0 before the first change. */
export function readRevision(database: Database | Transaction): Promise<number> {
  return latestNumber(database, COUNTER);
}

/**
 * Goes on from a revision that no node has seen, `nowMs` at least, and forgets the outbox: whoever follows gets a
 * snapshot. For a database that is older than its nodes; `backup/BACKUP.md` says why time is enough.
 */
export async function restartRevision(database: Database, nowMs: number): Promise<number> {
  return database.transaction().execute(async (transaction) => {
    const value = Math.max((await readRevision(transaction)) + 1, nowMs);
    await transaction
      .insertInto("counters")
      .values({ name: COUNTER, value })
      .onConflict((conflict) => conflict.column("name").doUpdateSet({ value }))
      .execute();
    await transaction.deleteFrom("state_changes").execute();
    return value;
  });
}

async function appendChange(
  transaction: Transaction,
  change: { readonly account: string; readonly worker: string; readonly now: string },
): Promise<void> {
  // Numbered by a lock, so that revisions become visible in their own order.
  const revision = await nextNumber(transaction, COUNTER);
  const row = { revision, account_id: change.account, worker: change.worker, at: change.now };
  await transaction.insertInto("state_changes").values(row).execute();
  await transaction
    .deleteFrom("state_changes")
    .where("revision", "<=", revision - LIMITS.stateChangesMax)
    .execute();
}
