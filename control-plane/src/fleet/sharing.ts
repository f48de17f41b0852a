import assert from "node:assert/strict";
import type { Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import type { Database } from "../database/database.ts";
import type { Mutations } from "../desired-state/mutations.ts";
import type { RequestLimiters } from "../http/rate-limits.ts";
import { SharedRates } from "../http/shared-rates.ts";
import { Peers } from "../peers/peers.ts";
import type { FleetRegistry } from "./fleet-registry.ts";
import { FleetView } from "./fleet-view.ts";

export interface SharingOptions {
  /** Absent when the database is nobody else's. */
  readonly databaseUrl?: string | undefined;
  readonly database: Database;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What makes one fleet of the nodes of several control planes on one database. */
export interface Sharing {
  /** Tells the other control planes that the desired state changed. */
  tellOfChange: () => void;
  /** Says where the others reach this one, and finds them. `undefined` when there can't be any. */
  join(url: string): Peers | undefined;
  /** Begins to hear of changes elsewhere, and to share what is known of nodes. Called after `join`. */
  start(parts: { readonly mutations: Mutations; readonly registry: FleetRegistry }): void;
  /** Makes limits of requests those of all control planes together. */
  shareRates: (limiters: RequestLimiters) => void;
  /** Called when the nodes' connections are ended. May be called twice. */
  close(): Promise<void>;
}

const ALONE: Sharing = {
  tellOfChange: () => undefined,
  join: () => undefined,
  start: () => undefined,
  shareRates: () => undefined,
  close: () => Promise.resolve(),
};

export async function openSharing(options: SharingOptions): Promise<Sharing> {
  const { databaseUrl: url, database, clock, log } = options;
  if (url === undefined) return ALONE;
  // Loaded only here: its client is of no use to anybody else.
  const { PostgresSignals } = await import("../database/postgres-signals.ts");
  const signals = new PostgresSignals({ url, clock, log });
  let peers: Peers | undefined;
  let view: FleetView | undefined;
  let rates: SharedRates | undefined;
  return {
    tellOfChange: () => signals.tell("state"),
    join: (peerUrl) => {
      const tell = (): void => signals.tell("peers");
      const joined = new Peers({ url: peerUrl, database, clock, log, tell });
      peers = joined;
      signals.on("peers", () => joined.look());
      return joined;
    },
    start: ({ mutations, registry }) => {
      assert(peers !== undefined, "nodes are shared under the name that `join` gave");
      const tell = (): void => signals.tell("nodes");
      const started = new FleetView({ id: peers.id, database, registry, clock, log, tell });
      view = started;
      signals.on("state", () => mutations.hearOfChange());
      signals.on("nodes", () => started.look());
    },
    shareRates: (limiters) => {
      const tell = (text: string): void => signals.tell("uses", text);
      const shared = new SharedRates({ limiters, clock, tell });
      rates = shared;
      signals.on("uses", (text) => shared.take(text));
    },
    close: async () => {
      rates?.close();
      await view?.close();
      await peers?.close();
      await signals.close();
    },
  };
}
