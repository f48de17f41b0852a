import { join } from "node:path";
import { systemClock } from "@atoll/kv-store";
import type { Logger } from "pino";
import type { CellSupervisor } from "../cells/cell-supervisor.ts";
import type { DayGate } from "../quotas/day-gate.ts";
import type { Ingress } from "../ingress/ingress.ts";
import { BlobCache } from "./blob-cache.ts";
import type { ControlPlaneClient } from "./control-plane-client.ts";
import type { NodeIdentity } from "./identity.ts";
import type { KvCapabilities } from "./kv-capabilities.ts";
import type { NodeKv } from "./node-kv.ts";
import { PreviewVersions } from "./preview-versions.ts";
import { StateFollower } from "./state-follower.ts";
import { StateStore } from "./state-store.ts";
import { WorkerPreparer, type SiteMaterialiser } from "./worker-preparer.ts";
import { WorkerRunner } from "./worker-runner.ts";

export interface WorkersOptions {
  /** The node's. */
  readonly dataDirectory: string;
  readonly identity: NodeIdentity;
  readonly client: ControlPlaneClient;
  readonly capabilities: KvCapabilities;
  readonly kv: Pick<NodeKv, "hold">;
  readonly supervisor: CellSupervisor;
  readonly ingress: Ingress;
  readonly dayGate: DayGate;
  readonly createSites: (options: {
    readonly root: string;
    readonly log: Logger;
  }) => SiteMaterialiser;
  readonly log: Logger;
}

/** What makes workers run on a node: those that it is told of, and versions that somebody looks at. */
export interface Workers {
  /** Its owner's to close. */
  readonly runner: WorkerRunner;
  readonly previews: PreviewVersions;
  readonly follower: StateFollower;
}

export function openWorkers(options: WorkersOptions): Workers {
  const { dataDirectory, identity, client, capabilities, kv, supervisor, ingress, log } = options;
  const blobs = new BlobCache({
    directory: join(dataDirectory, "blobs"),
    fetchBlobs: (hashes) => client.fetchBlobs(hashes),
  });
  const sites = options.createSites({ root: join(dataDirectory, "sites"), log });
  const runner = new WorkerRunner({
    preparer: new WorkerPreparer({ blobs, sites, sealingKey: identity.sealingKey }),
    supervisor,
    ingress,
    dayGate: options.dayGate,
    capabilities,
    hold: (namespaces) => kv.hold(namespaces),
    clock: systemClock,
    log,
  });
  const previews = new PreviewVersions({
    activator: supervisor,
    fetchPreview: (worker, label) => client.fetchPreview(worker, label),
    fleetKey: identity.fleetKey,
    open: (worker) => runner.openPreview(worker),
    clock: systemClock,
  });
  const follower = new StateFollower({
    store: new StateStore({ directory: join(dataDirectory, "state"), log }),
    fleetKey: identity.fleetKey,
    run: async (workers) => {
      const failures = await runner.run(workers);
      // What is acknowledged is what every new request meets.
      await ingress.settled();
      return failures;
    },
    log,
  });
  return { runner, previews, follower };
}
