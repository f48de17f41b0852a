import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { NodeName, Region } from "@atoll/control-plane/contract";
import { systemClock } from "@atoll/kv-store";
import type { Logger } from "pino";
import { CacheFront } from "./cells/cache-front.ts";
import { CellSupervisor } from "./cells/cell-supervisor.ts";
import { openHost } from "./cells/open-host.ts";
import { installedWorkerdPath, type WorkerdHost } from "./cells/workerd-host.ts";
import { EgressPolicy } from "./egress/egress-policy.ts";
import { EgressProxy } from "./egress/egress-proxy.ts";
import type { Activator, Ingress } from "./ingress/ingress.ts";
import { type IngressChoice, openIngress } from "./ingress/open-ingress.ts";
import { previewNameOf } from "./ingress/target-key.ts";
import { MetricsServer } from "./metrics/metrics-server.ts";
import { NodeMetrics } from "./metrics/node-metrics.ts";
import { hideData, openRunDirectories, type RunDirectories } from "./node-directories.ts";
import { DayFile } from "./quotas/day-file.ts";
import { DayGate } from "./quotas/day-gate.ts";
import { openConfinement, type Confinement } from "./sandbox/confinement.ts";
import { ScheduledCaller } from "./scheduled/scheduled-caller.ts";
import { ScheduledRuns } from "./scheduled/scheduled-runs.ts";
import { ControlPlaneClient } from "./sync/control-plane-client.ts";
import { ControlPlanes } from "./sync/control-planes.ts";
import { loadOrEnrol, type NodeIdentity } from "./sync/identity.ts";
import { KvCapabilities } from "./sync/kv-capabilities.ts";
import { NodeCellServices } from "./sync/node-cell-services.ts";
import { NodeKv } from "./sync/node-kv.ts";
import { NodeLink } from "./sync/node-link.ts";
import { openWorkers, type Workers } from "./sync/open-workers.ts";
import type { PreviewVersions } from "./sync/preview-versions.ts";
import type { StateFollower } from "./sync/state-follower.ts";
import type { SiteMaterialiser } from "./sync/worker-preparer.ts";
import type { NodeTails } from "./tail/node-tails.ts";
import { openNodeTails } from "./tail/open-node-tails.ts";
import { TailCapabilities } from "./tail/tail-capabilities.ts";
import { NodeUsage } from "./usage/node-usage.ts";

export interface AgentOptions {
  readonly name: NodeName;
  readonly region: Region;
  /** Such as `http://127.0.0.1:4400`; any of several is as good as another. */
  readonly controlPlaneUrls: ReadonlyArray<string>;
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
  /** Told of what only another process of the node can mend: whoever runs it should end it, and start it again. */
  readonly onFatal: (error: Error) => void;
  readonly log: Logger;
}

/** A running node. */
export interface Agent {
  /** Where it serves. */
  readonly url: string;
  /** Stops accepting, drains, stops every cell. May be called twice. */
  close(): Promise<void>;
}

/** What was opened, to be closed in the opposite order. */
type Closer = () => Promise<void> | void;

/**
 * The node's composition root. Resolves when the node serves what it ran last; the control plane is
 * needed only to enrol. Rejected, with everything closed again, when a part can't be opened.
 */
export async function startAgent(options: AgentOptions): Promise<Agent> {
  const closers: Closer[] = [];
  const close = async (): Promise<void> => {
    for (let closer = closers.pop(); closer !== undefined; closer = closers.pop()) await closer();
  };
  try {
    const controlPlanes = new ControlPlanes(options.controlPlaneUrls);
    const identity = await loadOrEnrol({ ...options, controlPlanes });
    return { url: await openParts(options, { identity, controlPlanes }, closers), close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Who the node is, and to whom it belongs. */
interface Membership {
  readonly identity: NodeIdentity;
  readonly controlPlanes: ControlPlanes;
}

/** What every part of a node may need. */
interface Ground extends Membership {
  readonly options: AgentOptions;
  readonly client: ControlPlaneClient;
  readonly capabilities: KvCapabilities;
  readonly tailCapabilities: TailCapabilities;
  readonly confinement: Confinement;
  readonly run: RunDirectories;
  /** Absent where nobody reads them. */
  readonly metrics: NodeMetrics | undefined;
  readonly closers: Closer[];
}

/** Opens every part in the order of their needs; resolves with where the node serves. */
async function openParts(
  options: AgentOptions,
  membership: Membership,
  closers: Closer[],
): Promise<string> {
  const ground = await openGround(options, membership, closers);
  // Usage is told apart by version, and workers are watched, once there are cells that have any.
  let cells: Cells | undefined;
  let previews: PreviewVersions | undefined;
  const services = await openServices(ground, () => cells);
  cells = await openCells(ground, services, () => previews);
  const workers = openWorkers({ ...options, ...ground, ...services, ...cells });
  closers.push(() => workers.runner.close());
  previews = workers.previews;
  const { follower } = workers;
  await follower.restore();
  const { runner } = workers;
  const link = openLink(ground, { follower, runner, ...services, ...cells });
  await openMetrics(ground, { follower, link, ...services, ...cells });
  const { url } = cells.ingress;
  options.log.info({ url, region: membership.identity.region }, "node serves");
  return url;
}

async function openGround(
  options: AgentOptions,
  membership: Membership,
  closers: Closer[],
): Promise<Ground> {
  const { dataDirectory, log } = options;
  const { identity, controlPlanes } = membership;
  const client = new ControlPlaneClient({ controlPlanes, credential: identity.credential });
  const capabilities = new KvCapabilities(identity.nodeKey);
  await hideData(dataDirectory);
  const confinement = await openConfinement({
    workerdPath: installedWorkerdPath(),
    owner: dataDirectory,
    isRequired: options.requireSandbox ?? false,
    log,
  });
  const run = await openRunDirectories(dataDirectory, confinement.sandbox);
  closers.push(() => rm(run.root, { recursive: true, force: true }));
  const metrics = options.metricsPort === undefined ? undefined : new NodeMetrics();
  const tailCapabilities = new TailCapabilities(membership.identity.nodeKey);
  const parts = { options, ...membership, client, capabilities, tailCapabilities, confinement };
  return { ...parts, run, metrics, closers };
}

/** What cells may call, and what counts it. */
interface Services {
  readonly dayGate: DayGate;
  readonly usage: NodeUsage;
  readonly kv: NodeKv;
  readonly tails: NodeTails;
  readonly cellServices: NodeCellServices;
}

async function openServices(ground: Ground, cells: () => Cells | undefined): Promise<Services> {
  const { options, client, capabilities, run, closers } = ground;
  const { dataDirectory, log } = options;
  const supervisor = (): CellSupervisor | undefined => cells()?.supervisor;
  const dayGate = await DayGate.open({
    file: new DayFile({ directory: join(dataDirectory, "quotas"), log }),
    refuse: (workers) => cells()?.ingress.refuse(workers),
    clock: systemClock,
    log,
  });
  closers.push(() => dayGate.close());
  const usage = await NodeUsage.open({
    directory: join(dataDirectory, "usage"),
    servingOf: (worker) => {
      const version = supervisor()?.versionOf(worker);
      return version && { worker, version: version.id, isStatic: version.code.kind === "none" };
    },
    charged: dayGate,
    clock: systemClock,
    log,
  });
  closers.push(() => usage.close());
  const kvSocketPath = join(run.sockets, "kv.sock");
  const kv = await NodeKv.open({
    directory: join(dataDirectory, "kv"),
    budgetBytes: options.kvBudgetBytes,
    socketPath: kvSocketPath,
    blobs: client,
    resolveCapability: (capability) => capabilities.resolve(capability),
    onUse: (capability, use, count) => {
      const caller = capabilities.callerOf(capability);
      if (caller !== undefined) usage.meters.onKvUse(caller, use, count);
    },
    usedUp: (capability, use) => {
      // Reads are many, and hardly ever is there anybody.
      if (!dayGate.isAnybodyOver) return undefined;
      const caller = capabilities.callerOf(capability);
      return caller && dayGate.kvUsedUp(caller.worker, use);
    },
    onGivenUp: options.onFatal,
    clock: systemClock,
    log,
  });
  closers.push(() => kv.close());
  const cache = await CacheFront.listen(join(run.sockets, "cache.sock"));
  closers.push(() => cache.close());
  const { tails, server } = await openNodeTails({
    ...{ directory: run.sockets, capabilities: ground.tailCapabilities, supervisor, log },
  });
  closers.push(() => server.close());
  const policy = new EgressPolicy({ allow: options.egressAllow, servedPorts: [options.port] });
  const egress = new EgressProxy({ policy, log });
  closers.push(() => egress.close());
  const cellServices = new NodeCellServices({
    directory: run.sockets,
    kvSocketPath,
    cacheSocketPath: cache.socketPath,
    tailSocketPath: server.socketPath,
    egress,
  });
  return { dayGate, usage, kv, tails, cellServices };
}

/** What keeps cells, and what brings requests to them. */
interface Cells {
  readonly host: WorkerdHost;
  readonly supervisor: CellSupervisor;
  readonly ingress: Ingress;
}

async function openCells(
  ground: Ground,
  { usage, tails, cellServices }: Services,
  previews: () => PreviewVersions | undefined,
): Promise<Cells> {
  const { options, identity, capabilities, tailCapabilities, metrics, closers } = ground;
  const { log } = options;
  const { nodeKey } = identity;
  const runDirectory = ground.run.cells;
  const { host, compiler } = await openHost({ ...options, ...ground, nodeKey, runDirectory });
  // The ingress needs it later: requests that come earlier find no route.
  let activator: Activator | undefined;
  const ingress = await openIngress({
    choice: options.ingress,
    directory: ground.run.ingress,
    port: options.port,
    address: options.host,
    region: identity.region,
    activator: {
      activate: (target) => {
        const isPreview = previewNameOf(target) !== undefined;
        return requireActivator(isPreview ? previews() : activator).activate(target);
      },
      lossOf: (socketPath) => requireActivator(activator).lossOf(socketPath),
    },
    onServed: (request) => {
      usage.meters.onServed(request);
      metrics?.served(request);
    },
    onFailure: (failure) => tails.failed(failure),
    log,
  });
  const supervisor = new CellSupervisor({
    host,
    compiler,
    services: cellServices,
    ingress,
    ...(options.memoryBudgetBytes === undefined
      ? {}
      : { memoryBudgetBytes: options.memoryBudgetBytes }),
    meter: usage.meters,
    listeners: metrics === undefined ? [] : [metrics],
    kvCapability: ({ key, version }, namespace) =>
      capabilities.of({ worker: key, version: version.id }, namespace),
    tailCapability: ({ key, version }) => tailCapabilities.of({ worker: key, version: version.id }),
    onSkipped: (worker, count) => tails.skipped(worker, count),
    clock: systemClock,
    log,
  });
  activator = supervisor;
  closers.push(() => supervisor.dispose());
  closers.push(() => ingress.close());
  return { host, supervisor, ingress };
}

/** Connects to the control plane, for as long as the node runs. */
function openLink(
  { options, identity, controlPlanes, confinement, closers }: Ground,
  parts: Services & Cells & Pick<Workers, "follower" | "runner">,
): NodeLink {
  const { supervisor, usage } = parts;
  const scheduled = new ScheduledRuns({
    caller: new ScheduledCaller({
      supervisor,
      targetOf: (worker, name) => parts.runner.targetOf(worker, name),
      isRefused: (worker) => parts.dayGate.isRefused(worker),
      onServed: (request) => usage.meters.onServed(request),
      onLost: (call, outcome) => parts.tails.lostSchedule(call, outcome),
    }),
    clock: systemClock,
    log: options.log,
  });
  const link = new NodeLink({
    controlPlanes,
    credential: identity.credential,
    random: Math.random,
    follower: parts.follower,
    kv: parts.kv,
    usage,
    dayGate: parts.dayGate,
    scheduled,
    tails: parts.tails,
    cells: () => supervisor.status(),
    cellEnds: () => supervisor.ends,
    confinement: {
      sandbox: confinement.sandbox.name,
      shortfalls: [...confinement.shortfalls],
    },
    ingressUrl: parts.ingress.url,
    clock: systemClock,
    log: options.log,
  });
  link.open();
  closers.push(() => link.close());
  closers.push(() => scheduled.close());
  return link;
}

/** Lets what the node does be read, where that is asked for. */
async function openMetrics(
  { options, metrics, closers }: Ground,
  parts: Services & Cells & { readonly follower: StateFollower; readonly link: NodeLink },
): Promise<void> {
  const { metricsPort: port, log } = options;
  if (port === undefined || metrics === undefined) return;
  const { host, supervisor, ingress, kv, usage, link, follower } = parts;
  const text = async (): Promise<string> =>
    metrics.text({
      cells: supervisor.counts,
      zygotes: host.zygotes,
      ingress: await ingress.counters(),
      kv: kv.status(),
      usageBatchesPending: usage.pending,
      link: { isConnected: link.isConnected, revision: follower.revision },
    });
  const { contentType } = metrics;
  const server = await MetricsServer.listen({ port, contentType, text, log });
  closers.push(() => server.close());
  log.info({ url: server.url }, "metrics can be read");
}

function requireActivator<Found extends Pick<Activator, "activate">>(
  activator: Found | undefined,
): Found {
  if (activator === undefined) throw new Error("a request was routed before there were routes");
  return activator;
}
