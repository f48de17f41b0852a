import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Clock, ManagedOrigin } from "@atoll/kv-store";
import type { Logger } from "pino";
import { AccountsService } from "./accounts/service.ts";
import { createAssetDecoder } from "./assets/asset-decoder.ts";
import { BlobCollector } from "./blobs/blob-collector.ts";
import type { BlobArea, BlobStore } from "./blobs/blob-store.ts";
import { ClaimedBlobStore } from "./blobs/claimed-blob-store.ts";
import { DirectoryBlobStore } from "./blobs/directory-blob-store.ts";
import type { Database } from "./database/database.ts";
import { openDatabase } from "./database/open-database.ts";
import { createConsoleRoutes } from "./console/routes.ts";
import { startFleet } from "./fleet/fleet.ts";
import { openSharing } from "./fleet/sharing.ts";
import { createApi } from "./http/api.ts";
import { createLimiters, type RequestRates } from "./http/rate-limits.ts";
import { HttpServer } from "./http/server.ts";
import { LIMITS } from "./limits.ts";
import { DesiredState } from "./desired-state/desired-state.ts";
import { Mutations } from "./desired-state/mutations.ts";
import { EntriesService } from "./kv-namespaces/entries-service.ts";
import { ManagementService } from "./kv-namespaces/management-service.ts";
import { QuotaFollower } from "./kv-namespaces/quota-follower.ts";
import { ValueStore } from "./kv-namespaces/value-store.ts";
import { createKvNamespaceRoutes } from "./kv-namespaces/routes.ts";
import { NamespacesService } from "./kv-namespaces/service.ts";
import { NodesService } from "./nodes/service.ts";
import type { Peers } from "./peers/peers.ts";
import { createDocumentRoutes } from "./openapi/routes.ts";
import type { OwnershipRule } from "./ownership/schemas.ts";
import { DnsTxtResolver } from "./ownership/txt-resolver.ts";
import type { Preflight } from "./preflight/preflight.ts";
import { createResources } from "./resources.ts";
import { HostNames } from "./routes/host-names.ts";
import { Dispatcher } from "./schedules/dispatcher.ts";
import { openInstallationKeys } from "./secrets/installation-keys.ts";
import { MASTER_KEY_FILE, MasterKeys } from "./secrets/master-keys.ts";
import { SecretSealer } from "./secrets/sealing.ts";
import { createTailRoutes } from "./tails/routes.ts";
import { TailsService } from "./tails/service.ts";
import { Tails } from "./tails/tails.ts";
import { TokensService } from "./tokens/service.ts";
import { TokenUses } from "./tokens/token-uses.ts";
import { DayQuotas } from "./usage/day-quotas.ts";
import { KvCharges } from "./usage/kv-charges.ts";
import { UsageService } from "./usage/service.ts";
import { VersionStore } from "./versions/store.ts";

export interface ControlPlaneOptions {
  /** Everything that is kept: database, blobs, master key. Made when it is missing. */
  readonly dataDirectory: string;
  /** `postgres://` address in place of the database there: several control planes may share it. */
  readonly databaseUrl?: string | undefined;
  /** Where those reach this one; by default where it listens. */
  readonly peerUrl?: string | undefined;
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** Workers are served as `<worker>.<base domain>`. */
  readonly baseDomain: string;
  /** The port of the ingress that URLs shown to people name. */
  readonly publicIngressPort: number;
  /** Whether routes need hosts that their account has proved; by default with several accounts. */
  readonly ownershipRule?: OwnershipRule | undefined;
  /** DNS servers that are asked for proofs, such as `127.0.0.1:53`; by default those of the system. */
  readonly dnsServers?: ReadonlyArray<string> | undefined;
  readonly preflight: Preflight;
  readonly kvOrigin: ManagedOrigin;
  /** Where blobs of an area are kept; by default each in a folder of the data directory. */
  readonly openBlobs?: (area: BlobArea) => BlobStore;
  /** Whether `/` shows workers without a token to browsers on this machine, while there is one account. */
  readonly isFrontPageOpenHere?: boolean;
  /** The file with the variables for wrangler, which the front page tells people to source. */
  readonly environmentFile: string;
  /** Keys of 64 hexadecimal digits, the current one first, in place of the key file in the data directory. */
  readonly masterKey: string | undefined;
  /** How long a change waits to be served by connected nodes; by default `LIMITS.servedWaitMs`. */
  readonly servedWaitMs?: number;
  /** What addresses and tokens may ask; by default that of `LIMITS`. */
  readonly requestRates?: RequestRates;
  readonly log: Logger;
  readonly clock: Clock;
}

/** A running control plane. */
export interface ControlPlane {
  /** Where it listens, such as `http://127.0.0.1:4400`; wrangler's base URL is this with `/client/v4`. */
  readonly url: string;
  readonly http: HttpServer;
  readonly database: Database;
  readonly blobs: BlobStore;
  readonly accounts: AccountsService;
  readonly tokens: TokensService;
  readonly nodes: NodesService;
  readonly desiredState: DesiredState;
  /** How everything that belongs to an account is written. */
  readonly mutations: Mutations;
  /** The other control planes on the database; absent when there can't be any. */
  readonly peers: Peers | undefined;
  /**
   * Ends the nodes' connections, stops listening, waits for requests in flight, closes the database. May
   * be called twice.
   */
  close(): Promise<void>;
}

/** Opens or creates everything and listens. What was opened is closed again when a later step fails. */
export async function createControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const { dataDirectory, log, clock, servedWaitMs = LIMITS.servedWaitMs } = options;
  await mkdir(dataDirectory, { recursive: true, mode: 0o700 });
  const masterKeys = await MasterKeys.load({
    file: join(dataDirectory, MASTER_KEY_FILE),
    fromEnvironment: options.masterKey,
  });
  const openBlobs =
    options.openBlobs ?? ((area) => new DirectoryBlobStore(join(dataDirectory, area)));
  await using opening = new AsyncDisposableStack();
  const database = await openDatabase(options, log);
  opening.defer(() => database.destroy());
  const stored = openBlobs("blobs");
  const blobs = new ClaimedBlobStore({ database, blobs: stored, clock });
  const { fleetSeed, uploadTokens } = await openInstallationKeys(database, masterKeys);
  const sharing = await openSharing({ ...options, database });
  opening.defer(() => sharing.close());
  const mutations = new Mutations({ database, clock, tellOthers: sharing.tellOfChange });
  const accounts = new AccountsService({ database, mutations, clock });
  const tokenUses = new TokenUses({ database, clock, log });
  opening.defer(() => tokenUses.close());
  const tokens = new TokensService({ database, mutations, uses: tokenUses, clock });
  const nodes = new NodesService({ database, clock });
  const sealer = new SecretSealer(masterKeys);
  const versions = new VersionStore(sealer);
  const hostNames = new HostNames({
    baseDomain: options.baseDomain,
    publicPort: options.publicIngressPort,
  });
  const desiredState = new DesiredState({ database, mutations, versions, hostNames });
  const namespaces = new NamespacesService({ database, mutations, origin: options.kvOrigin });
  await namespaces.removeLeftovers();
  await namespaces.requireAtOrigin();
  await namespaces.assignAll();
  const values = new ValueStore({
    origin: options.kvOrigin,
    blobs: openBlobs("kv-values"),
    earlier: stored,
  });
  const entries = new EntriesService({ origin: options.kvOrigin, blobs: values });
  const decoder = createAssetDecoder();
  opening.defer(() => decoder.close());
  const charges = new KvCharges({ database, clock, log });
  opening.defer(() => charges.close());
  const usage = new UsageService({ database, clock, log });
  const quotas = await QuotaFollower.start({ database, origin: options.kvOrigin, clock, log });
  opening.defer(() => quotas.close());
  const verifyToken = (token: string) => tokens.verify(token);
  const http = await HttpServer.listen({ host: options.host, port: options.port, log, clock });
  opening.defer(() => http.close());
  const shared = {
    ...options,
    database,
    mutations,
    versions,
    sealer,
    blobs,
    decoder,
    accounts,
    tokens,
    hostNames,
    usage,
    ownershipRule: options.ownershipRule ?? "auto",
    resolver: new DnsTxtResolver(options.dnsServers),
  };
  const { selfAuthenticated, resources } = createResources({
    ...shared,
    uploadTokenKey: uploadTokens,
  });
  const schedules = new Dispatcher({ database, clock, log });
  opening.defer(() => schedules.close());
  const collector = new BlobCollector({ database, blobs: stored, clock, log });
  opening.defer(() => collector.close());
  const peers = sharing.join(options.peerUrl ?? http.url);
  const dayQuotas = new DayQuotas({ database, clock, log });
  opening.defer(() => dayQuotas.close());
  const tails = new Tails({ database, peers, fleetSeed, clock, log });
  opening.defer(() => tails.close());
  const parts = {
    ...{ http, nodes, blobs, values, desiredState, fleetSeed },
    ...{ usage, dayQuotas, schedules, tails },
  };
  const fleet = startFleet({ ...options, ...parts });
  opening.defer(() => fleet.close());
  const { registry } = fleet;
  sharing.start({ mutations, registry });
  const management = new ManagementService({
    ...{ origin: options.kvOrigin, entries, blobs: values, nodes, registry, accounts },
    charges,
  });
  const kvRoutes = createKvNamespaceRoutes({ namespaces, entries, management, charges });
  const tailRoutes = createTailRoutes(new TailsService({ database, tails }));
  const whenServed = async (): Promise<void> =>
    registry.whenApplied(await desiredState.revision(), servedWaitMs);
  const limiters = createLimiters(clock, options.requestRates);
  sharing.shareRates(limiters);
  http.mount(
    "/client/v4",
    createApi({
      ...{ limiters, verifyToken, selfAuthenticated, whenServed },
      resources: [...resources, kvRoutes, tailRoutes],
    }),
  );
  const { environmentFile } = options;
  http.mount(
    "/",
    createConsoleRoutes({
      ...{ database, desiredState, nodes, registry, limiters, verifyToken, environmentFile },
      isOpenHere: options.isFrontPageOpenHere === true,
    }),
  );
  http.mount(
    "/",
    createDocumentRoutes(() => http.routes),
  );
  const opened = opening.move();
  let closing: Promise<void> | undefined;
  return {
    url: http.url,
    http,
    database,
    blobs,
    accounts,
    tokens,
    nodes,
    desiredState,
    mutations,
    peers,
    close: () => (closing ??= opened.disposeAsync()),
  };
}
