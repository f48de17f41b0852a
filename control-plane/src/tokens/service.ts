import type { Clock } from "@atoll/kv-store";
import { AuditStore, OPERATOR } from "../audit/store.ts";
import type { AccountId } from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import type { Mutations } from "../desired-state/mutations.ts";
import { ControlPlaneError } from "../errors.ts";
import type { Principal } from "../http/request-context.ts";
import { NamespaceStore } from "../kv-namespaces/store.ts";
import { LIMITS } from "../limits.ts";
import { credentialId, isCredential, mintCredential } from "../secrets/credential.ts";
import type { CreatedToken, ListedToken, TokenRequest, TokenScope } from "./schemas.ts";
import { presentToken, TokenStore, type StoredToken } from "./store.ts";
import type { TokenUses } from "./token-uses.ts";

const TOKEN_KIND = "atoll";

export interface TokensServiceParts {
  readonly database: Database;
  readonly mutations: Mutations;
  readonly uses: TokenUses;
  readonly clock: Clock;
}

/** The API tokens that speak for an account. A token itself is shown once; what is kept is its hash. */
export class TokensService {
  readonly #parts: TokensServiceParts;
  readonly #store = new TokenStore();
  readonly #namespaces = new NamespaceStore();

  constructor(parts: TokensServiceParts) {
    this.#parts = parts;
  }

  /** Whose token this is; `undefined` when nobody was given it, or it has expired. */
  async verify(text: string): Promise<Principal | undefined> {
    const id = credentialId(TOKEN_KIND, text);
    const token = id === undefined ? undefined : await this.#store.find(this.#parts.database, id);
    if (token === undefined || !isCredential(text, token.credential)) return undefined;
    const nowMs = this.#parts.clock.nowMs();
    if (token.expiresAt !== null && Date.parse(token.expiresAt) <= nowMs) return undefined;
    const { credential, account, role, scope, lastUsedAt } = token;
    // Also when it lies ahead, because the clock was set back since.
    if (lastUsedAt === null || Math.abs(nowMs - Date.parse(lastUsedAt)) >= LIMITS.lastSeenMs) {
      this.#parts.uses.note(credential.id, new Date(nowMs).toISOString());
    }
    return { account, tokenId: credential.id, role, scope };
  }

  /** Makes a token for the caller's account. Rejected with `tokens_exceeded`, `token_expired` or `namespace_not_listed`. */
  async create(principal: Principal, request: TokenRequest): Promise<CreatedToken> {
    const { account } = principal;
    const { name, role } = request;
    const expiresAt = this.#expiryOf(request);
    return this.#parts.mutations.run(principal, async (mutation) => {
      const { transaction, now } = mutation;
      await this.#refuseTooMany(transaction, account);
      const scope = await this.#scopeOf(transaction, account, request);
      const credential = mintCredential(TOKEN_KIND);
      const token = {
        ...{ credential, account, name, role, scope, expiresAt },
        createdAt: now,
        lastUsedAt: null,
      };
      await this.#store.insert(transaction, token);
      const after = auditedToken(presentToken(token));
      await mutation.audit({ action: "token.create", subject: credential.id, after });
      return { ...presentToken(token), value: credential.text };
    });
  }

  /** The tokens of the caller's account, the oldest first. */
  async list({ account }: Principal): Promise<ReadonlyArray<ListedToken>> {
    await this.#parts.uses.write();
    return (await this.#store.list(this.#parts.database, account)).map(presentToken);
  }

  /** Ends a token of the caller's account at once. Rejected with `token_not_found`, or `token_last_admin`. */
  async revoke(principal: Principal, id: string): Promise<void> {
    const { account } = principal;
    await this.#parts.mutations.run(principal, async (mutation) => {
      const { transaction } = mutation;
      const all = await this.#store.list(transaction, account);
      const token = all.find(({ credential }) => credential.id === id);
      if (token === undefined) {
        const message = `The account has no API token '${id.slice(0, 100)}'`;
        throw new ControlPlaneError("token_not_found", message);
      }
      const lasting = all.filter(({ role, expiresAt }) => role === "admin" && expiresAt === null);
      if (lasting.length === 1 && lasting[0] === token) {
        throw new ControlPlaneError(
          "token_last_admin",
          `'${token.name}' is the account's last admin token that does not expire: make another first`,
        );
      }
      await this.#store.remove(transaction, { account, id });
      const before = auditedToken(presentToken(token));
      await mutation.audit({ action: "token.revoke", subject: id, before });
    });
  }

  /** The caller's own. */
  async describe({ account, tokenId }: Principal): Promise<ListedToken | undefined> {
    await this.#parts.uses.write();
    const token = await this.#store.find(this.#parts.database, tokenId);
    return token?.account === account ? presentToken(token) : undefined;
  }

  async #refuseTooMany(transaction: Transaction, account: AccountId): Promise<void> {
    const { length: count } = await this.#store.list(transaction, account);
    if (count < LIMITS.tokensMax) return;
    throw new ControlPlaneError(
      "tokens_exceeded",
      `The account has ${count} API tokens, and the limit is ${LIMITS.tokensMax}: revoke some first`,
    );
  }

  async #scopeOf(
    transaction: Transaction,
    account: AccountId,
    { worker, namespace }: TokenRequest,
  ): Promise<TokenScope> {
    if (worker !== undefined) return { kind: "worker", worker };
    if (namespace === undefined) return { kind: "account" };
    const found = await this.#namespaces.find(transaction, { account, id: namespace });
    if (found !== undefined) return { kind: "namespace", namespace };
    throw new ControlPlaneError(
      "namespace_not_listed",
      `KV namespace '${namespace}' does not exist in this account`,
    );
  }

  #expiryOf({ expires_at: text }: TokenRequest): string | null {
    if (text === undefined) return null;
    const expiresAtMs = Date.parse(text);
    if (expiresAtMs > this.#parts.clock.nowMs()) return new Date(expiresAtMs).toISOString();
    throw new ControlPlaneError("token_expired", `expires_at: ${text} is not in the future`);
  }
}

/** A new token for all of an account, as its operator has it. */
export async function issueOperatorToken(
  transaction: Transaction,
  token: { readonly account: AccountId; readonly createdAt: string },
): Promise<string> {
  const credential = mintCredential(TOKEN_KIND);
  const issued: StoredToken = {
    ...{ ...token, credential, name: "operator", role: "admin", scope: { kind: "account" } },
    ...{ expiresAt: null, lastUsedAt: null },
  };
  await new TokenStore().insert(transaction, issued);
  const entry = {
    ...{ action: "token.create", subject: credential.id },
    after: auditedToken(presentToken(issued)),
  };
  const actor = { account: token.account, tokenId: OPERATOR };
  await new AuditStore().append(transaction, entry, { actor, now: token.createdAt });
  return credential.text;
}

/** What the audit trail keeps of a token: nothing of its hash. */
function auditedToken({ name, role, worker, namespace, expires_at }: ListedToken) {
  return { name, role, worker, namespace, expiresAt: expires_at };
}
