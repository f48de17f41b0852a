import { randomBytes } from "node:crypto";
import { KvError, LIMITS as KV_LIMITS, NamespaceId, type ManagedOrigin } from "@atoll/kv-store";
import type { Facts } from "../audit/schemas.ts";
import { chunksOf } from "../chunks-of.ts";
import type { AccountId } from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import type { Mutations } from "../desired-state/mutations.ts";
import { ControlPlaneError } from "../errors.ts";
import type { Principal } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";
import {
  parseNamespaceId,
  type Namespace,
  type NamespaceAddress,
  type NamespaceQuery,
} from "./schemas.ts";
import { NamespaceStore } from "./store.ts";

/** One page of an account's namespaces, and how many there are in all. */
export interface NamespacePage {
  readonly namespaces: ReadonlyArray<Namespace>;
  readonly totalCount: number;
}

/**
 * Which namespaces an account has. A row here and the namespace at the origin can't be written in one
 * transaction: a note in `kv_leftovers` covers the time between, so that after a crash at any point no
 * row lacks its namespace, and `removeLeftovers` clears what the origin holds for nobody.
 */
export class NamespacesService {
  readonly #database: Database;
  readonly #mutations: Mutations;
  readonly #origin: ManagedOrigin;
  readonly #store = new NamespaceStore();

  constructor(parts: {
    readonly database: Database;
    readonly mutations: Mutations;
    readonly origin: ManagedOrigin;
  }) {
    this.#database = parts.database;
    this.#mutations = parts.mutations;
    this.#origin = parts.origin;
  }

  /** Makes an empty namespace. Rejected with `namespace_title_taken` or `namespaces_exceeded`. */
  async create(principal: Principal, title: string): Promise<Namespace> {
    const { account } = principal;
    const id = NamespaceId.parse(randomBytes(16).toString("hex"));
    await this.#refuseTaken(this.#database, { account, title });
    const leftover = { namespace_id: id, state: "creating" } as const;
    await this.#store.addLeftover(this.#database, leftover);
    await this.#origin.createNamespace(id);
    try {
      await this.#origin.administration.assign(account, [id]);
      await this.#mutations.run(principal, async (mutation) => {
        const { transaction, now } = mutation;
        // A control plane that starts meanwhile takes the note for a crash's, and removes the namespace.
        if (!(await this.#store.removeLeftover(transaction, leftover))) {
          throw new ControlPlaneError("conflict", `Creating '${title}' was cut short: try again`);
        }
        await this.#refuseTaken(transaction, { account, title });
        await this.#refuseTooMany(transaction, account);
        await this.#store.insert(transaction, { id, account, title, createdAt: now });
        await mutation.audit({ action: "kv_namespace.create", subject: id, after: { title } });
      });
    } catch (error) {
      await this.#removeLeftover(id);
      throw error;
    }
    return { id, title };
  }

  async list(principal: Principal, query: NamespaceQuery): Promise<NamespacePage> {
    const { account } = principal;
    const namespaces = await this.#store.list(this.#database, account, query);
    return { namespaces, totalCount: await this.#store.count(this.#database, account) };
  }

  /** Every one of the account's, by title: there are at most `LIMITS.namespacesMax`. */
  async listAll({ account }: Principal): Promise<ReadonlyArray<Namespace>> {
    return this.#store.listAll(this.#database, account);
  }

  /** Rejected with `namespace_not_listed` also for a namespace of another account. */
  async get(principal: Principal, id: string): Promise<Namespace> {
    return this.#find(this.#database, principal.account, id);
  }

  /** Rejected with `namespace_title_taken` when another namespace has the title. */
  async rename(principal: Principal, id: string, title: string): Promise<Namespace> {
    return this.#mutations.run(principal, async (mutation) => {
      const { transaction } = mutation;
      const namespace = await this.#find(transaction, principal.account, id);
      if (namespace.title === title) return namespace;
      await this.#refuseTaken(transaction, { account: principal.account, title });
      await this.#store.rename(transaction, namespace.id, title);
      const [before, after] = [{ title: namespace.title }, { title }];
      const action = "kv_namespace.rename";
      await mutation.audit({ action, subject: namespace.id, before, after });
      return { id: namespace.id, title };
    });
  }

  /** Removes it with all its keys. Rejected with `namespace_bound` while a worker that serves binds it. */
  async remove(principal: Principal, id: string): Promise<void> {
    const { account } = principal;
    const removed = await this.#mutations.run(principal, async (mutation) => {
      const { transaction } = mutation;
      const namespace = await this.#find(transaction, account, id);
      await this.#refuseBound(transaction, account, namespace);
      await this.#store.remove(transaction, namespace.id);
      const leftover = { namespace_id: namespace.id, state: "removing" } as const;
      await this.#store.addLeftover(transaction, leftover);
      const before = { title: namespace.title };
      await mutation.audit({ action: "kv_namespace.delete", subject: namespace.id, before });
      return namespace.id;
    });
    await this.#removeLeftover(removed);
  }

  /** Puts into the audit trail that entries are about to be rewritten as a whole; they are not the database's. */
  async noteRewrite(
    principal: Principal,
    namespace: Namespace,
    rewrite: { readonly verb: "import" | "restore"; readonly after: Facts },
  ): Promise<void> {
    await this.#mutations.run(principal, async (mutation) => {
      const action = `kv_namespace.${rewrite.verb}`;
      const after = { title: namespace.title, ...rewrite.after };
      await mutation.audit({ action, subject: namespace.id, after });
    });
  }

  /** Finishes at the origin what an earlier process began. Called once, before requests are served. */
  async removeLeftovers(): Promise<void> {
    for (const id of await this.#store.listLeftovers(this.#database)) {
      await this.#removeLeftover(id);
    }
  }

  /** Tells the origin whose its namespaces are, by which it counts. Called once, before requests are served. */
  async assignAll(): Promise<void> {
    const owned = Map.groupBy(
      await this.#store.listOwned(this.#database),
      ({ account }) => account,
    );
    for (const [account, namespaces] of owned) {
      const ids = namespaces.map(({ id }) => id);
      for (const some of chunksOf(ids, KV_LIMITS.assignedAtOnceMax)) {
        await this.#origin.administration.assign(account, some);
      }
    }
  }

  /** Those that accounts have and the origin lacks. */
  async missingAtOrigin(): Promise<ReadonlyArray<NamespaceAddress>> {
    const owned = await this.#store.listOwned(this.#database);
    const missing: NamespaceAddress[] = [];
    for (const some of chunksOf(owned, LIMITS.namespacesCheckedAtOnce)) {
      const isThere = await Promise.all(some.map(({ id }) => this.#isAtOrigin(id)));
      missing.push(...some.filter((_, index) => isThere[index] === false));
    }
    if (missing.length === 0) return missing;
    // Another control plane may have removed one meanwhile, row first.
    const still = new Set((await this.#store.listOwned(this.#database)).map(({ id }) => id));
    return missing.filter(({ id }) => still.has(id));
  }

  /**
   * Makes the namespaces anew that the origin lacks, empty: nodes then drop the copies that they have. For
   * operators, when what held them is lost. Resolves with those that were made.
   */
  async recreateMissing(): Promise<ReadonlyArray<NamespaceAddress>> {
    const missing = await this.missingAtOrigin();
    for (const { id, account } of missing) {
      await this.#origin.createNamespace(id);
      await this.#origin.administration.assign(account, [id]);
    }
    return missing;
  }

  /**
   * Fails when the origin lacks namespaces that accounts have: then it is not the one with their keys, and
   * nodes that followed it would drop their copies. Called once, before nodes connect.
   */
  async requireAtOrigin(): Promise<void> {
    const missing = await this.missingAtOrigin();
    const [first] = missing;
    if (first === undefined) return;
    const { length: count } = await this.#store.listOwned(this.#database);
    throw new Error(
      `${missing.length} of ${count} KV namespaces are not in this key-value store, such as ${first.id}: start with the file or database that has them; if it is lost for good, 'atoll kv recreate' makes them anew, empty`,
    );
  }

  async #isAtOrigin(id: NamespaceId): Promise<boolean> {
    try {
      await this.#origin.point(id);
      return true;
    } catch (error) {
      if (error instanceof KvError && error.code === "namespace_not_found") return false;
      throw error;
    }
  }

  async #removeLeftover(id: NamespaceId): Promise<void> {
    if (!(await this.#store.claimLeftover(this.#database, id))) return;
    await this.#origin.deleteNamespace(id);
    const leftover = { namespace_id: id, state: "removing" } as const;
    await this.#store.removeLeftover(this.#database, leftover);
  }

  async #find(
    database: Database | Transaction,
    account: AccountId,
    text: string,
  ): Promise<Namespace> {
    const id = parseNamespaceId(text);
    const namespace = await this.#store.find(database, { account, id });
    if (namespace !== undefined) return namespace;
    throw new ControlPlaneError(
      "namespace_not_listed",
      `KV namespace '${id}' does not exist in this account`,
    );
  }

  async #refuseTaken(
    database: Database | Transaction,
    wanted: { readonly account: AccountId; readonly title: string },
  ): Promise<void> {
    const owner = await this.#store.findByTitle(database, wanted);
    if (owner === undefined) return;
    throw new ControlPlaneError(
      "namespace_title_taken",
      `A KV namespace with the title '${wanted.title}' exists already: ${owner.id}`,
    );
  }

  async #refuseTooMany(transaction: Transaction, account: AccountId): Promise<void> {
    const count = await this.#store.count(transaction, account);
    if (count < LIMITS.namespacesMax) return;
    throw new ControlPlaneError(
      "namespaces_exceeded",
      `The account has ${count} KV namespaces, and the limit is ${LIMITS.namespacesMax}`,
    );
  }

  async #refuseBound(
    transaction: Transaction,
    account: AccountId,
    { id, title }: Namespace,
  ): Promise<void> {
    const workers = await this.#store.workersBinding(transaction, { account, id });
    if (workers.length === 0) return;
    throw new ControlPlaneError(
      "namespace_bound",
      `KV namespace '${title}' is bound by deployed workers: ${workers.join(", ")}. Deploy them without the binding, or delete them, first`,
    );
  }
}
