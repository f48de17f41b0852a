import { randomUUID } from "node:crypto";
import type { Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import type { Database } from "../database/database.ts";
import { DatabaseLooks } from "../database/database-looks.ts";
import { LIMITS } from "../limits.ts";
import { PeerStore, type PeerRow } from "./store.ts";

/** Another control plane on the same database. */
export interface Peer {
  /** A new one with each start. */
  readonly id: string;
  /** Where it says that others reach it. */
  readonly url: string;
}

interface Seen {
  readonly row: PeerRow;
  /** How long nothing was seen of it, while it could have been. */
  readonly silentMs: number;
}

/**
 * Which other control planes live: each counts up a number in its row, and one whose number stands still for
 * `LIMITS.controlPlaneSilenceMs` is gone, and its row is removed. Nobody's clock is compared with another's.
 * While the database is away, everybody stays as last seen.
 */
export class Peers {
  readonly id = randomUUID();
  readonly #url: string;
  readonly #store: PeerStore;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #tell: () => void;
  readonly #listeners = new Set<() => void>();
  readonly #looks: DatabaseLooks;
  #seen: ReadonlyMap<string, Seen> = new Map();
  #shownAtMs = -Infinity;
  #readAtMs: number;

  constructor(parts: {
    /** Where the others reach this one. */
    readonly url: string;
    readonly database: Database;
    readonly clock: Clock;
    readonly log: Logger;
    /** Called when the others should look. */
    readonly tell: () => void;
  }) {
    this.#url = parts.url;
    this.#store = new PeerStore(parts.database);
    this.#clock = parts.clock;
    this.#log = parts.log;
    this.#tell = parts.tell;
    this.#readAtMs = parts.clock.monotonicMs();
    this.#looks = new DatabaseLooks({
      ...{ clock: parts.clock, log: parts.log },
      failure: "could not look for other control planes",
      look: async () => {
        await this.#show();
        await this.#read();
      },
    });
    this.look();
  }

  get others(): ReadonlyArray<Peer> {
    return [...this.#seen.values()].map(({ row }) => row);
  }

  find(id: string): Peer | undefined {
    return this.#seen.get(id)?.row;
  }

  /** Calls back when one came or went. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** Shows that this one lives, and reads who else does. Returns at once. */
  look(): void {
    this.#looks.ask();
  }

  /** Says that this one is gone. May be called twice. */
  async close(): Promise<void> {
    await this.#looks.close();
    try {
      await this.#store.remove(this.id);
      this.#tell();
    } catch (error) {
      // The others find out in that it no longer shows that it lives.
      this.#log.warn(
        { err: error },
        "other control planes could not be told of the end of this one",
      );
    }
  }

  async #show(): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#shownAtMs < LIMITS.controlPlaneAliveMs) return;
    const isFirst = this.#shownAtMs === -Infinity;
    await this.#store.showAlive({ id: this.id, url: this.#url });
    this.#shownAtMs = nowMs;
    if (isFirst) this.#tell();
  }

  async #read(): Promise<void> {
    const rows = await this.#store.listOthers(this.id);
    const nowMs = this.#clock.monotonicMs();
    // What passed while the database was away says nothing about who lives.
    const passedMs = Math.min(nowMs - this.#readAtMs, 2 * LIMITS.stateLookMs);
    this.#readAtMs = nowMs;
    const before = this.#seen;
    const seen = new Map<string, Seen>();
    for (const row of rows) {
      const known = before.get(row.id);
      const isSilent = known?.row.alive === row.alive;
      const silentMs = isSilent ? known.silentMs + passedMs : 0;
      if (silentMs < LIMITS.controlPlaneSilenceMs) seen.set(row.id, { row, silentMs });
      else await this.#store.removeSilent(row);
    }
    this.#seen = seen;
    const isSame = seen.size === before.size && [...seen.keys()].every((id) => before.has(id));
    if (!isSame) for (const listener of this.#listeners) listener();
  }
}
