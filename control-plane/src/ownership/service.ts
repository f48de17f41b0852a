import type { Clock } from "@atoll/kv-store";
import { AccountId, WorkerName } from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import type { Mutation, Mutations } from "../desired-state/mutations.ts";
import { ControlPlaneError } from "../errors.ts";
import type { Principal } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";
import type { HostNames } from "../routes/host-names.ts";
import { hostsOverlap, splitPattern } from "../routes/route-pattern.ts";
import type { NamedRoute } from "../routes/schemas.ts";
import { RouteStore } from "../routes/store.ts";
import { challengeOf, requireMet } from "./challenge.ts";
import { parseDomainName, printable } from "./domain-name.ts";
import { LookupTurns } from "./lookup-turns.ts";
import { isAtOrBelow, nameOf, ownerAmong, type Ownership } from "./ownership.ts";
import type { DomainName, ListedDomain } from "./schemas.ts";
import { DomainStore, newClaim, type Domain } from "./store.ts";
import type { TxtResolver } from "./txt-resolver.ts";

export interface DomainsServiceParts {
  readonly database: Database;
  readonly mutations: Mutations;
  readonly hostNames: HostNames;
  readonly ownership: Ownership;
  readonly resolver: TxtResolver;
  readonly clock: Clock;
}

/** What accounts claim to be theirs, and how they prove it. `OWNERSHIP.md` has the rules. */
export class DomainsService {
  readonly #parts: DomainsServiceParts;
  readonly #store = new DomainStore();
  readonly #routes = new RouteStore();
  readonly #turns = new LookupTurns();

  constructor(parts: DomainsServiceParts) {
    this.#parts = parts;
  }

  /** Domains and claims of the caller's account, by name. */
  async list({ account }: Principal): Promise<ReadonlyArray<ListedDomain>> {
    const all = await this.#store.listOwned(this.#parts.database, account);
    return all.filter((domain) => !this.#isOver(domain)).map(present);
  }

  /**
   * Claims a domain, which keeps nobody else from proving it. A claim that there is gets new time and keeps
   * its token. Rejected with `domain_invalid`, `domain_taken` or `domains_exceeded`.
   */
  async add(principal: Principal, text: string): Promise<ListedDomain> {
    const { account } = principal;
    const name = parseDomainName(text, this.#parts.hostNames);
    return this.#parts.mutations.run(principal, async (mutation) => {
      const { transaction, now } = mutation;
      await this.#store.removeExpired(transaction, now);
      const existing = await this.#store.find(transaction, { account, name });
      if (existing !== undefined && existing.provedAt !== null) return present(existing);
      await this.#refuseTaken(transaction, account, name);
      const expiresAt = new Date(Date.parse(now) + LIMITS.domainClaimMs).toISOString();
      if (existing !== undefined) {
        await this.#store.renew(transaction, existing.id, expiresAt);
        const [before, after] = [{ expiresAt: existing.expiresAt }, { expiresAt }];
        await mutation.audit({ action: "domain.claim", subject: name, before, after });
        return present({ ...existing, expiresAt });
      }
      await this.#refuseTooMany(transaction, account);
      const claim = newClaim({ account, name, createdAt: now, expiresAt });
      await this.#store.insert(transaction, claim);
      await mutation.audit({ action: "domain.claim", subject: name, after: { expiresAt } });
      return present(claim);
    });
  }

  /**
   * Looks for the claim's TXT record; with it, the domain is the account's, and routes of others that lead to
   * its hosts end. One that is proved already stays so, whatever DNS says now. Rejected with
   * `domain_not_found`, `domain_taken`, `domain_challenge_unmet`, `domain_lookup_failed` or `busy`.
   */
  async verify(principal: Principal, text: string): Promise<ListedDomain> {
    const { database, mutations, resolver } = this.#parts;
    const { account } = principal;
    const name = parseDomainName(text, this.#parts.hostNames);
    const claim = await this.#require(database, account, name);
    if (claim.provedAt !== null) return present(claim);
    await this.#refuseTaken(database, account, name);
    const challenge = challengeOf(claim);
    const records = await this.#turns.take(account, () => resolver.resolve(challenge.name));
    requireMet(challenge, records);
    return mutations.run(principal, async (mutation) => {
      const { transaction, now } = mutation;
      // All of it once more: while the question was out, another one may have been faster.
      const current = await this.#require(transaction, account, name);
      if (current.provedAt !== null) return present(current);
      await this.#refuseTaken(transaction, account, name);
      if (current.token !== claim.token) {
        throw new ControlPlaneError("conflict", `The claim to '${name}' was made anew meanwhile`);
      }
      await this.#store.prove(transaction, current.id, now);
      await this.#endForeignRoutes(mutation, { account, name });
      await mutation.audit({ action: "domain.prove", subject: name, after: { provedAt: now } });
      return present({ ...current, provedAt: now, expiresAt: null });
    });
  }

  /** Gives up a domain or claim. Rejected with `domain_not_found` or `domain_in_use`. */
  async remove(principal: Principal, text: string): Promise<DomainName> {
    const { account } = principal;
    const name = parseDomainName(text, this.#parts.hostNames);
    await this.#parts.mutations.run(principal, async (mutation) => {
      const { transaction } = mutation;
      const domain = await this.#require(transaction, account, name);
      if (domain.provedAt !== null) await this.#refuseInUse(transaction, domain);
      await this.#store.remove(transaction, domain.id);
      const before = { provedAt: domain.provedAt };
      await mutation.audit({ action: "domain.release", subject: name, before });
    });
    return name;
  }

  async #require(
    database: Database | Transaction,
    account: AccountId,
    name: DomainName,
  ): Promise<Domain> {
    const domain = await this.#store.find(database, { account, name });
    if (domain !== undefined && !this.#isOver(domain)) return domain;
    throw new ControlPlaneError(
      "domain_not_found",
      domain === undefined
        ? `Your account has neither proved nor claimed '${printable(name)}': run 'atoll domain add ${name}' first`
        : `The claim to '${name}' expired at ${domain.expiresAt}: run 'atoll domain add ${name}' again`,
    );
  }

  /** Refuses what another account has proved, at this name or above. */
  async #refuseTaken(
    database: Database | Transaction,
    account: AccountId,
    name: DomainName,
  ): Promise<void> {
    const owner = await this.#parts.ownership.ownerOf(database, name);
    if (owner === undefined || owner.account === account) return;
    throw new ControlPlaneError(
      "domain_taken",
      `The domain '${name}' can't be claimed: another account was the first to prove '${owner.name}', and has it with all that lies below`,
    );
  }

  async #refuseTooMany(transaction: Transaction, account: AccountId): Promise<void> {
    const { length: count } = await this.#store.listOwned(transaction, account);
    if (count < LIMITS.domainsMax) return;
    throw new ControlPlaneError(
      "domains_exceeded",
      `The account has ${count} domains and claims, and the limit is ${LIMITS.domainsMax}: delete some first`,
    );
  }

  /** Refuses to release a domain by which some of its account's routes are there. */
  async #refuseInUse(transaction: Transaction, { account, name }: Domain): Promise<void> {
    const { ownership } = this.#parts;
    const rest = (await this.#store.listOwned(transaction, account)).filter(
      (domain) => domain.provedAt !== null && domain.name !== name,
    );
    const used = (await this.#routes.listNear(transaction, [`*${name}`])).find((route) => {
      const host = nameOf(splitPattern(route.pattern).host);
      const isOfDomain = route.account === account && isAtOrBelow(host, name);
      return isOfDomain && !ownership.isShared(host) && ownerAmong(rest, host) === undefined;
    });
    if (used === undefined) return;
    throw new ControlPlaneError(
      "domain_in_use",
      `The domain '${name}' can't be released: the route '${used.pattern}' leads to '${used.worker}'. Remove the routes and custom domains of its hosts first.`,
    );
  }

  /** Ends the routes of other accounts that take requests to a domain's hosts, but for what these have proved. */
  async #endForeignRoutes(
    mutation: Mutation,
    { account, name }: { readonly account: AccountId; readonly name: DomainName },
  ): Promise<void> {
    const { transaction } = mutation;
    for (const route of await this.#routes.listNear(transaction, [`*${name}`])) {
      if (route.account === account || !(await this.#isForeign(transaction, route, name))) continue;
      await this.#routes.remove(transaction, route.id);
      const theirs = mutation.elsewhere(AccountId.parse(route.account));
      await theirs.changed(WorkerName.parse(route.worker));
      const [before, after] = [{ pattern: route.pattern }, { provedByAnother: name }];
      const action = `${route.kind}.release`;
      await theirs.audit({ action, subject: route.worker, before, after });
    }
  }

  async #isForeign(
    transaction: Transaction,
    route: NamedRoute,
    name: DomainName,
  ): Promise<boolean> {
    const { host } = splitPattern(route.pattern);
    const { ownership } = this.#parts;
    if (!hostsOverlap(host, `*${name}`) || ownership.isShared(nameOf(host))) return false;
    const owner = await ownership.ownerOf(transaction, nameOf(host));
    return owner?.account !== route.account;
  }

  #isOver({ expiresAt }: Domain): boolean {
    return expiresAt !== null && Date.parse(expiresAt) <= this.#parts.clock.nowMs();
  }
}

function present(domain: Domain): ListedDomain {
  return {
    domain: domain.name,
    status: domain.provedAt === null ? "pending" : "proved",
    challenge: challengeOf(domain),
    created_at: domain.createdAt,
    expires_at: domain.expiresAt,
    proved_at: domain.provedAt,
  };
}
