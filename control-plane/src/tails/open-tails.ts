import { createHash, randomBytes, randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import type { TailFilters, TailNews, WorkerKey } from "../contract/index.ts";
import { BoundedWaits } from "../fleet/bounded-waits.ts";
import { refuseUpgrade } from "../http/refuse-upgrade.ts";
import { LIMITS } from "../limits.ts";
import type { FleetTail } from "./fleet-tails.ts";
import { OpenTail } from "./open-tail.ts";
import { TailFollowers, type TailCarrier, type TailLink } from "./tail-followers.ts";
import { WatcherSocket } from "./watcher-socket.ts";

/** Where watchers connect, with their secret as the last part. */
export const TAILS_PATH = "/tails/";

/**
 * Who watches which workers here: in memory, because a tail lasts as long as its watcher's connection. Whoever
 * follows (the nodes of this control plane by `FleetTails`, other control planes) is told of every tail, and tells
 * what happens; without tails, nothing is told to anybody.
 */
export class OpenTails {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #secretPrefix: string;
  readonly #tails = new Map<string, OpenTail>();
  /** Ids by the hash of their secret: nothing is learned from how long a search for a wrong one takes. */
  readonly #idOf = new Map<string, string>();
  readonly #followers = new TailFollowers<FleetTail>({
    wanted: () => this.#all(),
    onFollowed: () => this.#waits.look(),
    onNews: (news) => this.#tell(news),
  });
  readonly #waits = new BoundedWaits();
  readonly #stops: ReadonlyArray<() => void>;

  constructor(options: {
    readonly clock: Clock;
    readonly log: Logger;
    /** Begins each secret, so that it says where its tail is; by default there is only this place. */
    readonly secretPrefix?: string | undefined;
  }) {
    this.#clock = options.clock;
    this.#log = options.log;
    this.#secretPrefix = options.secretPrefix ?? "";
    this.#stops = [
      this.#clock.every(LIMITS.tailLookMs, () => this.#look()),
      this.#clock.every(LIMITS.tailPingMs, () => {
        for (const open of this.#tails.values()) open.checkAlive();
      }),
    ];
  }

  /**
   * Opens a tail; a watcher has to come for it within `LIMITS.tailConnectMs`. The secret opens it for
   * whoever has it.
   */
  open(wanted: {
    readonly tokenId: string;
    readonly worker: WorkerKey;
    readonly filters: TailFilters;
  }): { readonly open: OpenTail; readonly secret: string } {
    const { tokenId, worker, filters } = wanted;
    const tail = { id: randomUUID(), worker, filters };
    const open = new OpenTail({ tail, tokenId, clock: this.#clock });
    const secret = `${this.#secretPrefix}${randomBytes(32).toString("base64url")}`;
    this.#tails.set(tail.id, open);
    this.#idOf.set(hashOf(secret), tail.id);
    this.#followers.tell();
    return { open, secret };
  }

  /** Resolves when everybody who is told of tails follows this one, or after `waitMs`. */
  whenFollowed(id: string, waitMs: number): Promise<void> {
    return this.#waits.until(() => this.#followers.allFollow(id), waitMs);
  }

  listOf(worker: WorkerKey): ReadonlyArray<OpenTail> {
    return [...this.#tails.values()].filter(({ tail }) => tail.worker === worker);
  }

  /** Ends a tail, if there is one. */
  remove(id: string): void {
    const open = this.#tails.get(id);
    if (open !== undefined) this.#end(open, "the tail was deleted");
  }

  /** The API tokens that tails were opened with. */
  get tokenIds(): ReadonlySet<string> {
    return new Set([...this.#tails.values()].map(({ tokenId }) => tokenId));
  }

  /** Ends the tails that were opened with an API token. */
  endOf(tokenId: string): void {
    for (const open of this.#tails.values()) {
      if (open.tokenId === tokenId) this.#end(open, "the API token was revoked or has expired");
    }
  }

  /** Takes over an upgrade to `TAILS_PATH`. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const secret = (request.url ?? "").slice(TAILS_PATH.length);
    const id = this.#idOf.get(hashOf(secret));
    const open = id === undefined ? undefined : this.#tails.get(id);
    if (open === undefined) return refuseUpgrade(socket, "404 Not Found");
    if (open.hasWatcher) return refuseUpgrade(socket, "409 Conflict");
    const { id: tail, worker } = open.tail;
    const watcher = WatcherSocket.accept(request, {
      ...{ socket, head },
      onEnd: () => {
        this.#forget(open);
        this.#log.info({ tail, worker }, "nobody watches a worker any more");
      },
    });
    if (watcher === undefined) return undefined;
    open.attach(watcher);
    this.#log.info({ tail, worker }, "somebody watches a worker");
    return undefined;
  }

  /** Takes in somebody who is told of all tails, and tells what happens. */
  connect(carrier: TailCarrier<FleetTail>): TailLink {
    return this.#followers.connect(carrier);
  }

  /** Ends every tail: 1001, "going away", because watchers may come back. May be called twice. */
  close(): void {
    for (const stop of this.#stops) stop();
    for (const open of this.#tails.values()) open.close(1001, "shutting down");
  }

  #tell({ events, dropped }: TailNews): void {
    for (const { tails, json } of events) for (const id of tails) this.#tails.get(id)?.tell(json);
    for (const { worker, count } of dropped) {
      for (const open of this.listOf(worker)) open.drop(count);
    }
  }

  #look(): void {
    for (const open of this.#tails.values()) {
      if (open.isOver) this.#end(open, "the tail has expired");
      else open.look();
    }
  }

  #end(open: OpenTail, reason: string): void {
    // 1000: with any other code the newest wrangler asks for another tail.
    open.close(1000, reason);
    this.#forget(open);
  }

  #forget({ tail }: OpenTail): void {
    if (!this.#tails.delete(tail.id)) return;
    for (const [hash, id] of this.#idOf) if (id === tail.id) this.#idOf.delete(hash);
    this.#followers.tell();
  }

  #all(): ReadonlyArray<FleetTail> {
    return [...this.#tails.values()].map(({ tail, expiresAtMs }) => ({ tail, expiresAtMs }));
  }
}

function hashOf(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}
