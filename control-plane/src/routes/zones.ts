import { createHash } from "node:crypto";
import type { Database } from "../database/database.ts";
import type { Principal } from "../http/request-context.ts";
import type { ResultInfo } from "../http/envelope.ts";
import { pageOf } from "../http/paging.ts";
import type { Ownership } from "../ownership/ownership.ts";
import { DomainStore } from "../ownership/store.ts";
import type { HostNames } from "./host-names.ts";
import type { ZonesQuery } from "./schemas.ts";

/** What wrangler takes for a zone of Cloudflare's. Its id is made from its name, so that a look-up needs no row. */
export interface Zone {
  readonly id: string;
  readonly name: string;
  readonly status: "active";
  readonly account: { readonly id: string };
}

/** The zones of an account: the base domain, which it shares, and what it has proved. */
export class ZonesService {
  readonly #database: Database;
  readonly #hostNames: HostNames;
  readonly #ownership: Ownership;
  readonly #domains = new DomainStore();

  constructor(parts: {
    readonly database: Database;
    readonly hostNames: HostNames;
    readonly ownership: Ownership;
  }) {
    this.#database = parts.database;
    this.#hostNames = parts.hostNames;
    this.#ownership = parts.ownership;
  }

  /** One page of all, or what there is of a name. Rejected as routes of that name are. */
  async list(
    principal: Principal,
    { name, ...query }: ZonesQuery,
  ): Promise<{ readonly zones: ReadonlyArray<Zone>; readonly info: ResultInfo }> {
    const names =
      name === undefined ? await this.#allOf(principal) : await this.#named(principal, name);
    const { items, info } = pageOf(names, query);
    return { zones: items.map((each) => toZone(each, principal.account)), info };
  }

  async #allOf({ account, scope }: Principal): Promise<ReadonlyArray<string>> {
    const { baseDomain } = this.#hostNames;
    // A token of one worker is not told what else its account has.
    if (scope.kind !== "account") return [baseDomain];
    const domains = await this.#domains.listOwned(this.#database, account);
    const proved = domains.filter(({ provedAt }) => provedAt !== null);
    return [baseDomain, ...proved.map((domain) => domain.name)];
  }

  /**
   * wrangler looks for a host, then for the domain above it, and so on until one is there. Of a host that is
   * nobody's that would end in advice about Cloudflare: it is told at once what its route will be told.
   */
  async #named({ account }: Principal, text: string): Promise<ReadonlyArray<string>> {
    const name = text.toLowerCase().replace(/\.$/, "");
    if (!/^[a-z0-9_.-]{1,253}$/.test(name)) return [];
    if (this.#ownership.isShared(name)) return [name];
    await this.#ownership.requireHosts(this.#database, account, [name]);
    const owner = await this.#ownership.ownerOf(this.#database, name);
    return owner === undefined || owner.name === name ? [name] : [];
  }
}

export function zoneId(name: string): string {
  return createHash("sha256").update(`zone ${name}`).digest("hex").slice(0, 32);
}

function toZone(name: string, account: string): Zone {
  return { id: zoneId(name), name, status: "active", account: { id: account } };
}
