import type { NodeName, Region } from "@atoll/control-plane/contract";
import type { Logger } from "pino";
import type { IngressChoice } from "./ingress/open-ingress.ts";
import type { SiteMaterialiser } from "./sync/worker-preparer.ts";

/** What a node is told by whoever starts it. */
export interface AgentOptions {
  readonly name: NodeName;
  readonly region: Region;
  /** Such as `http://127.0.0.1:4400`. */
  readonly controlPlaneUrl: string;
  /** One-time token; needed only while `dataDirectory` holds no identity. */
  readonly joinToken: string | undefined;
  /** Identity, state, blobs, sites and data. For one agent. */
  readonly dataDirectory: string;
  readonly ingress: IngressChoice;
  /** Where the ingress listens. */
  readonly host: string;
  readonly port: number;
  /** Hosts that workers may reach at private addresses, as `host` or `host:port`. */
  readonly egressAllow: ReadonlyArray<string>;
  /** What all cells together may take, in bytes; by default a part of the memory that there is. */
  readonly memoryBudgetBytes?: number;
  /** What the key-value store may take of the disk, in bytes; by default a part of the disk. */
  readonly kvBudgetBytes?: number | undefined;
  /** Port on 127.0.0.1 where `GET /metrics` tells what the node does; nowhere if absent. */
  readonly metricsPort?: number | undefined;
  /** Refuses to start on a host that can't confine cells fully; else it says so, and runs. */
  readonly requireSandbox?: boolean;
  readonly createSites: (options: {
    readonly root: string;
    readonly log: Logger;
  }) => SiteMaterialiser;
  readonly log: Logger;
}

/** A running node. */
export interface Agent {
  /** Where it serves. */
  readonly url: string;
  /** Stops accepting, drains, stops every cell. May be called twice. */
  close(): Promise<void>;
}
