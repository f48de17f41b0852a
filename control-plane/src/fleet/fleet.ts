import { OriginServer, type Clock, type KvOrigin } from "@atoll/kv-store";
import type { Logger } from "pino";
import type { BlobStore } from "../blobs/blob-store.ts";
import { BlobHash, fleetKeyFromSeed } from "../contract/index.ts";
import { isDatabaseUnavailable } from "../database/unavailable.ts";
import type { DesiredState } from "../desired-state/desired-state.ts";
import type { HttpServer } from "../http/server.ts";
import type { ValueStore } from "../kv-namespaces/value-store.ts";
import type { NodesService } from "../nodes/service.ts";
import type { Dispatcher } from "../schedules/dispatcher.ts";
import type { Tails } from "../tails/tails.ts";
import type { DayQuotas } from "../usage/day-quotas.ts";
import type { UsageService } from "../usage/service.ts";
import { FleetRegistry } from "./fleet-registry.ts";
import { FleetServer } from "./fleet-server.ts";
import { createPreviewRoutes } from "./preview-routes.ts";
import { createFleetRoutes } from "./routes.ts";

export interface FleetOptions {
  readonly http: HttpServer;
  readonly nodes: NodesService;
  /** Code and files of workers. */
  readonly blobs: BlobStore;
  readonly values: ValueStore;
  readonly desiredState: DesiredState;
  readonly kvOrigin: KvOrigin;
  readonly usage: UsageService;
  readonly dayQuotas: DayQuotas;
  readonly schedules: Dispatcher;
  readonly tails: Tails;
  /** 32 secret bytes. */
  readonly fleetSeed: Uint8Array;
  readonly clock: Clock;
  readonly log: Logger;
}

/** The control plane's side of the nodes. */
export interface Fleet {
  readonly registry: FleetRegistry;
  /** Ends every node's connection. May be called twice. */
  close(): void;
}

/** Mounts `/fleet` and takes over the nodes' connections, and those of who watches what nodes tell. */
export function startFleet(options: FleetOptions): Fleet {
  const {
    http,
    nodes,
    blobs,
    values,
    desiredState,
    kvOrigin,
    usage,
    dayQuotas,
    schedules,
    tails,
    clock,
    log,
  } = options;
  const fleetKey = fleetKeyFromSeed(options.fleetSeed);
  const registry = new FleetRegistry();
  const kv = new OriginServer({
    origin: kvOrigin,
    // A content hash of the key-value store is the address of a blob: SHA-256 both.
    blobs: {
      has: (hash) => values.has(BlobHash.parse(hash)),
      remove: (hash) => values.remove(BlobHash.parse(hash)),
    },
    clock,
    log,
  });
  const parts = { nodes, desiredState, registry, kv, usage, dayQuotas, schedules };
  const server = new FleetServer({ ...parts, tails: tails.fleet, fleetKey, log });
  http.mount("/fleet", createFleetRoutes({ nodes, blobs, values, fleetKey }));
  http.mount("/fleet", createPreviewRoutes({ nodes, desiredState, fleetKey }));
  http.server.on("upgrade", (request, socket, head) => {
    // Node has let go of it: an error that nobody hears would end the process. What it means, `close` tells as well.
    socket.on("error", () => undefined);
    if (tails.upgrade(request, socket, head)) return;
    server.upgrade(request, socket, head).catch((error: unknown) => {
      // Every node tries again all the time; that the database is away its connections say.
      if (!isDatabaseUnavailable(error))
        log.error({ err: error }, "could not take over a connection");
      socket.destroy();
    });
  });
  return {
    registry,
    close: () => {
      server.close();
      kv.close();
    },
  };
}
