import type { Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import type { Database } from "../database/database.ts";
import type { Mutations } from "../desired-state/mutations.ts";
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
  /** Begins to hear of changes elsewhere, and to share what is known of nodes. */
  start(parts: { readonly mutations: Mutations; readonly registry: FleetRegistry }): void;
  /** Called when the nodes' connections are ended. May be called twice. */
  close(): Promise<void>;
}

const ALONE: Sharing = {
  tellOfChange: () => undefined,
  start: () => undefined,
  close: () => Promise.resolve(),
};

export async function openSharing(options: SharingOptions): Promise<Sharing> {
  const { databaseUrl: url, database, clock, log } = options;
  if (url === undefined) return ALONE;
  // Loaded only here: its client is of no use to anybody else.
  const { PostgresSignals } = await import("../database/postgres-signals.ts");
  const signals = new PostgresSignals({ url, clock, log });
  let view: FleetView | undefined;
  return {
    tellOfChange: () => signals.tell("state"),
    start: ({ mutations, registry }) => {
      const tell = (): void => signals.tell("nodes");
      const started = new FleetView({ database, registry, clock, log, tell });
      view = started;
      signals.on("state", () => mutations.hearOfChange());
      signals.on("nodes", () => started.look());
    },
    close: async () => {
      await view?.close();
      await signals.close();
    },
  };
}
