import { AccountStore } from "../accounts/store.ts";
import { chunksOf } from "../chunks-of.ts";
import type { AccountId } from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import { ControlPlaneError } from "../errors.ts";
import type { HostNames } from "../routes/host-names.ts";
import type { OwnershipRule } from "./schemas.ts";
import { DomainStore, type Domain } from "./store.ts";

// Each is as many names as it has labels.
const HOSTS_PER_QUERY = 20;

/** Whose a host is. `OWNERSHIP.md` has the rules. */
export class Ownership {
  readonly #rule: OwnershipRule;
  readonly #hostNames: HostNames;
  readonly #store = new DomainStore();
  readonly #accounts = new AccountStore();

  constructor(parts: { readonly rule: OwnershipRule; readonly hostNames: HostNames }) {
    this.#rule = parts.rule;
    this.#hostNames = parts.hostNames;
  }

  /** Whether a route needs a host that its account has proved. */
  async isProofNeeded(database: Database | Transaction): Promise<boolean> {
    if (this.#rule !== "auto") return this.#rule === "required";
    return (await this.#accounts.count(database, 2)) > 1;
  }

  /**
   * Refuses hosts of routes that are not the account's to take: with `route_conflict` what another one has
   * proved, and where proof is needed with `domain_unproved` what it has not proved itself.
   */
  async requireHosts(
    database: Database | Transaction,
    account: AccountId,
    hosts: ReadonlyArray<string>,
  ): Promise<void> {
    const others = [...new Set(hosts)].filter((host) => !this.isShared(nameOf(host)));
    if (others.length === 0) return;
    const isProofNeeded = await this.isProofNeeded(database);
    for (const batch of chunksOf(others, HOSTS_PER_QUERY)) {
      const proved = await this.#provedNear(database, batch);
      for (const host of batch) requireHost(host, { account, proved, isProofNeeded });
    }
  }

  /** The domain, proved by whomever, that a host belongs to. */
  async ownerOf(database: Database | Transaction, host: string): Promise<Domain | undefined> {
    return this.isShared(host)
      ? undefined
      : ownerAmong(await this.#provedNear(database, [host]), host);
  }

  /** Whether it is the base domain or lies below it: there each account has hosts beside the others. */
  isShared(name: string): boolean {
    return isAtOrBelow(name, this.#hostNames.baseDomain);
  }

  async #provedNear(
    database: Database | Transaction,
    hosts: ReadonlyArray<string>,
  ): Promise<ReadonlyArray<Domain>> {
    const names = hosts.map(nameOf).flatMap(namesAbove);
    const below = hosts.filter((host) => host.startsWith("*")).map(nameOf);
    return this.#store.listProved(database, { names: [...new Set(names)], below });
  }
}

/** The most specific of some proved domains that a host name belongs to. */
export function ownerAmong(proved: ReadonlyArray<Domain>, host: string): Domain | undefined {
  return proved
    .filter(({ name }) => isAtOrBelow(host, name))
    .toSorted((left, right) => right.name.length - left.name.length)[0];
}

export function isAtOrBelow(host: string, name: string): boolean {
  return host === name || host.endsWith(`.${name}`);
}

/** A host name and every domain above it. */
function namesAbove(name: string): ReadonlyArray<string> {
  const labels = name.split(".");
  return labels.map((_, index) => labels.slice(index).join("."));
}

/** What a route's host is called without its wildcard. */
export function nameOf(host: string): string {
  return host.replace(/^\*\.?/, "");
}

function requireHost(
  host: string,
  facts: {
    readonly account: AccountId;
    readonly proved: ReadonlyArray<Domain>;
    readonly isProofNeeded: boolean;
  },
): void {
  const { account, proved, isProofNeeded } = facts;
  const name = nameOf(host);
  const owner = ownerAmong(proved, name);
  const foreign =
    owner !== undefined && owner.account !== account
      ? owner
      : host.startsWith("*") &&
        proved.find((domain) => domain.account !== account && isAtOrBelow(domain.name, name));
  if (foreign) {
    throw new ControlPlaneError(
      "route_conflict",
      `The host '${host}' is refused: '${foreign.name}' belongs to another account, which was the first to prove it`,
    );
  }
  if (owner === undefined && isProofNeeded) throw unproved(host);
}

function unproved(host: string): ControlPlaneError {
  const name = nameOf(host);
  return new ControlPlaneError(
    "domain_unproved",
    `The host '${host}' is refused: your account has not proved that '${name}', or a domain above it, is its own. ` +
      `Run 'atoll domain add ${name}', set the TXT record that it prints, and run 'atoll domain verify ${name}'.`,
  );
}
