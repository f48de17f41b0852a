import { randomBytes } from "node:crypto";
import type { Clock } from "@atoll/kv-store";
import { AuditStore, OPERATOR } from "../audit/store.ts";
import { AccountId } from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import type { Mutations } from "../desired-state/mutations.ts";
import { ControlPlaneError } from "../errors.ts";
import type { Principal } from "../http/request-context.ts";
import { issueOperatorToken } from "../tokens/service.ts";
import { readAccountDay, type AccountDay } from "../usage/account-day.ts";
import { WorkerStore } from "../workers/store.ts";
import type { Account, AccountChanges, Bootstrap, ConfiguredAccount } from "./schemas.ts";
import { AccountStore } from "./store.ts";

/** Accounts, and what their operator grants them. */
export class AccountsService {
  readonly #database: Database;
  readonly #mutations: Mutations;
  readonly #clock: Clock;
  readonly #store = new AccountStore();
  readonly #workers = new WorkerStore();

  constructor(parts: {
    readonly database: Database;
    readonly mutations: Mutations;
    readonly clock: Clock;
  }) {
    this.#database = parts.database;
    this.#mutations = parts.mutations;
    this.#clock = parts.clock;
  }

  /**
   * A new token for the first account, which is made when there is none: for the operator of the
   * installation, at its first start and whenever they have lost the token.
   */
  async bootstrap(): Promise<Bootstrap> {
    return this.#database.transaction().execute(async (transaction) => {
      const first = await this.#store.first(transaction);
      if (first === undefined) return this.#create(transaction, "Atoll");
      return { account: first, token: await this.#issueToken(transaction, first.id) };
    });
  }

  /** Makes an account with a token. */
  async create(name: string): Promise<Bootstrap> {
    return this.#database.transaction().execute((transaction) => this.#create(transaction, name));
  }

  /** The caller's account. */
  async get(principal: Principal): Promise<Account> {
    const account = await this.#store.find(this.#database, principal.account);
    if (account !== undefined) return account;
    throw new ControlPlaneError("unauthenticated", `Account ${principal.account} no longer exists`);
  }

  /** Every account, the oldest first. */
  async list(): Promise<ReadonlyArray<ConfiguredAccount>> {
    return this.#store.list(this.#database);
  }

  /** What an account used today, of what it may use on a day. */
  async today({ id: account, quota }: ConfiguredAccount): Promise<AccountDay> {
    const nowMs = this.#clock.nowMs();
    return readAccountDay(this.#database, { account, quota, nowMs });
  }

  /** As its operator sees the caller's account. */
  async configured({ account }: Principal): Promise<ConfiguredAccount> {
    return this.#store.configured(this.#database, account);
  }

  /**
   * Changes what an account is granted. With its settings all its workers are desired anew; its quota is for
   * the key-value store's origin. Resolves with the whole.
   */
  async configure(id: AccountId, changes: AccountChanges): Promise<ConfiguredAccount> {
    return this.#mutations.run({ account: id, tokenId: OPERATOR }, async (mutation) => {
      const { transaction } = mutation;
      const before = await this.#store.configured(transaction, id);
      const settings = { ...before.settings, ...changes.settings };
      const kvQuota = { ...before.kvQuota, ...changes.kvQuota };
      const quota = { ...before.quota, ...changes.quota };
      await this.#store.configure(transaction, { id, settings, kvQuota, quota });
      const workers =
        changes.settings === undefined ? [] : await this.#workers.list(transaction, id);
      for (const { name } of workers) await mutation.changed(name);
      const after = { ...settings, kvQuota, quota };
      const earlier = { ...before.settings, kvQuota: before.kvQuota, quota: before.quota };
      await mutation.audit({ action: "account.configure", subject: id, before: earlier, after });
      return { ...before, settings, kvQuota, quota };
    });
  }

  async #create(transaction: Transaction, name: string): Promise<Bootstrap> {
    const account = { id: AccountId.parse(randomBytes(16).toString("hex")), name };
    const now = this.#now();
    await this.#store.insert(transaction, { ...account, createdAt: now });
    const entry = { action: "account.create", subject: account.id, after: { name } };
    const actor = { account: account.id, tokenId: OPERATOR };
    await new AuditStore().append(transaction, entry, { actor, now });
    return { account, token: await this.#issueToken(transaction, account.id) };
  }

  async #issueToken(transaction: Transaction, account: AccountId): Promise<string> {
    return issueOperatorToken(transaction, { account, createdAt: this.#now() });
  }

  #now(): string {
    return new Date(this.#clock.nowMs()).toISOString();
  }
}
