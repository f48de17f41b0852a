import type { TailFilters, WorkerKey } from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import { LIMITS } from "../limits.ts";
import { workerNotFound } from "../versions/publisher.ts";
import type { Target } from "../versions/service.ts";
import { WorkerStore } from "../workers/store.ts";
import type { FleetTails } from "./fleet-tails.ts";
import type { OpenTails } from "./open-tails.ts";
import { requireRoom } from "./tail-room.ts";
import type { Tails } from "./tails.ts";

/** A tail as its owner sees it. */
export interface DescribedTail {
  readonly id: string;
  readonly expiresAt: string;
}

/** Tails of an account's workers. */
export class TailsService {
  readonly #database: Database;
  readonly #open: OpenTails;
  readonly #fleet: FleetTails;
  readonly #workers = new WorkerStore();

  constructor(parts: {
    readonly database: Database;
    readonly tails: Pick<Tails, "open" | "fleet">;
  }) {
    this.#database = parts.database;
    this.#open = parts.tails.open;
    this.#fleet = parts.tails.fleet;
  }

  /**
   * Opens a tail. Resolves when requests that nodes get from now on are told, or after a bound. Rejected with
   * `worker_not_found` or `tails_exceeded`. Whoever has the secret may watch.
   */
  async create(
    target: Target,
    filters: TailFilters,
  ): Promise<DescribedTail & { readonly secret: string }> {
    const { principal } = target;
    const worker = await this.#require(target);
    requireRoom(this.#fleet.all, worker);
    const { open, secret } = this.#open.open({
      tokenId: principal.tokenId,
      worker,
      filters: filters.map((filter) => withOwnAddress(filter, principal.address)),
    });
    const { id } = open.tail;
    await this.#open.whenFollowed(id, LIMITS.tailFollowMs);
    return { id, secret, expiresAt: new Date(open.expiresAtMs).toISOString() };
  }

  /** Rejected with `worker_not_found`. */
  async list(target: Target): Promise<ReadonlyArray<DescribedTail>> {
    const worker = await this.#require(target);
    return this.#fleet.listOf(worker).map(({ tail, expiresAtMs }) => ({
      id: tail.id,
      expiresAt: new Date(expiresAtMs).toISOString(),
    }));
  }

  /** Ends a tail; one that has ended, as wrangler asks after the connection, is no mistake. */
  async remove(target: Target, id: string): Promise<void> {
    this.#fleet.remove(await this.#require(target), id);
  }

  async #require({ principal: { account }, name }: Target): Promise<WorkerKey> {
    const worker = await this.#workers.find(this.#database, { account, name });
    if (worker === undefined) throw workerNotFound(name);
    return `${account}/${name}`;
  }
}

/** `self` stands for where the watcher is, as workers are told of it: an IPv4 address as such. */
function withOwnAddress(filter: TailFilters[number], own: string | undefined): TailFilters[number] {
  if (!("client_ip" in filter)) return filter;
  const plain = (own ?? "").replace(/^::ffff:(?=\d+\.)/i, "");
  return { client_ip: filter.client_ip.map((ip) => (ip === "self" ? plain : ip)) };
}
