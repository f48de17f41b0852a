import { randomBytes } from "node:crypto";
import type { Clock } from "@atoll/kv-store";
import { AccountId } from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import { ControlPlaneError } from "../errors.ts";
import type { Principal } from "../http/request-context.ts";
import { credentialId, isCredential, mintCredential } from "../secrets/credential.ts";
import type { Account, Bootstrap } from "./schemas.ts";
import { AccountStore } from "./store.ts";

const TOKEN_KIND = "atoll";

/** Accounts, and the API tokens that speak for them. */
export class AccountsService {
  readonly #database: Database;
  readonly #clock: Clock;
  readonly #store = new AccountStore();

  constructor(parts: { readonly database: Database; readonly clock: Clock }) {
    this.#database = parts.database;
    this.#clock = parts.clock;
  }

  /** Makes the first account with a token; `undefined` when there is an account already. */
  async bootstrap(): Promise<Bootstrap | undefined> {
    return this.#database.transaction().execute(async (transaction) => {
      if (!(await this.#store.isEmpty(transaction))) return undefined;
      return this.#create(transaction, "Atoll");
    });
  }

  /** Makes an account with a token. */
  async create(name: string): Promise<Bootstrap> {
    return this.#database.transaction().execute((transaction) => this.#create(transaction, name));
  }

  /** Whose token this is; `undefined` when nobody was given it. */
  async verifyToken(token: string): Promise<Principal | undefined> {
    const id = credentialId(TOKEN_KIND, token);
    const row = id === undefined ? undefined : await this.#store.findToken(this.#database, id);
    if (row === undefined || !isCredential(token, row.credential)) return undefined;
    return { account: row.account, tokenId: row.credential.id };
  }

  /** The caller's account. */
  async get(principal: Principal): Promise<Account> {
    const account = await this.#store.find(this.#database, principal.account);
    if (account !== undefined) return account;
    throw new ControlPlaneError("unauthenticated", `Account ${principal.account} no longer exists`);
  }

  async #create(transaction: Transaction, name: string): Promise<Bootstrap> {
    const account = { id: AccountId.parse(randomBytes(16).toString("hex")), name };
    const credential = mintCredential(TOKEN_KIND);
    const createdAt = new Date(this.#clock.nowMs()).toISOString();
    await this.#store.insert(transaction, { ...account, createdAt });
    await this.#store.insertToken(transaction, {
      credential,
      account: account.id,
      name: "first token",
      createdAt,
    });
    return { account, token: credential.text };
  }
}
