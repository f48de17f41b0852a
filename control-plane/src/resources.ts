import type { Clock } from "@atoll/kv-store";
import type { Hono } from "hono";
import { createAccountRoutes } from "./accounts/routes.ts";
import type { AccountsService } from "./accounts/service.ts";
import type { AssetDecoder } from "./assets/asset-decoder.ts";
import { AssetTokens } from "./assets/asset-tokens.ts";
import { createAssetRoutes, createAssetUploadRoutes } from "./assets/routes.ts";
import { AssetsService } from "./assets/service.ts";
import { createAuditRoutes } from "./audit/routes.ts";
import type { BlobStore } from "./blobs/blob-store.ts";
import type { Database } from "./database/database.ts";
import { createDeploymentRoutes } from "./deployments/routes.ts";
import { DeploymentsService } from "./deployments/service.ts";
import type { Mutations } from "./desired-state/mutations.ts";
import { createDomainRoutes } from "./domains/routes.ts";
import type { ApiEnvironment } from "./http/request-context.ts";
import { PagesAssets } from "./pages/assets.ts";
import { PagesDeployments } from "./pages/deployments.ts";
import { ProjectsService } from "./pages/projects.ts";
import { createPagesAssetRoutes, createPagesRoutes } from "./pages/routes.ts";
import { ProjectSecretStore } from "./pages/store.ts";
import type { Preflight } from "./preflight/preflight.ts";
import { Ownership } from "./ownership/ownership.ts";
import { createOwnershipRoutes } from "./ownership/routes.ts";
import type { OwnershipRule } from "./ownership/schemas.ts";
import { DomainsService } from "./ownership/service.ts";
import type { TxtResolver } from "./ownership/txt-resolver.ts";
import type { HostNames } from "./routes/host-names.ts";
import { createRouteRoutes } from "./routes/routes.ts";
import { RoutesService } from "./routes/service.ts";
import { ZonesService } from "./routes/zones.ts";
import { createScheduleRoutes } from "./schedules/routes.ts";
import { SchedulesService } from "./schedules/service.ts";
import { createSecretRoutes } from "./secrets/routes.ts";
import type { SecretSealer } from "./secrets/sealing.ts";
import { SecretsService } from "./secrets/service.ts";
import { createSubdomainRoutes } from "./subdomain/routes.ts";
import { createTokenRoutes } from "./tokens/routes.ts";
import type { TokensService } from "./tokens/service.ts";
import { createUnsupportedRoutes } from "./unsupported/routes.ts";
import { createUsageRoutes } from "./usage/routes.ts";
import type { UsageService } from "./usage/service.ts";
import { Publisher } from "./versions/publisher.ts";
import { createVersionRoutes } from "./versions/routes.ts";
import { VersionsService } from "./versions/service.ts";
import type { VersionStore } from "./versions/store.ts";
import { createWorkerRoutes } from "./workers/routes.ts";
import { WorkersService } from "./workers/service.ts";

export interface ResourceParts {
  readonly database: Database;
  readonly mutations: Mutations;
  readonly versions: VersionStore;
  readonly sealer: SecretSealer;
  readonly blobs: BlobStore;
  readonly decoder: AssetDecoder;
  readonly accounts: AccountsService;
  readonly tokens: TokensService;
  readonly hostNames: HostNames;
  readonly ownershipRule: OwnershipRule;
  readonly resolver: TxtResolver;
  readonly preflight: Preflight;
  readonly usage: UsageService;
  /** Signs tokens of uploads. */
  readonly uploadTokenKey: Uint8Array;
  readonly clock: Clock;
}

type Routes = ReadonlyArray<Hono<ApiEnvironment>>;

/** Wires the resources of `/client/v4`, but for key-value namespaces, which have parts of their own. */
export function createResources(parts: ResourceParts): {
  readonly selfAuthenticated: Routes;
  readonly resources: Routes;
} {
  const { accounts, blobs, hostNames } = parts;
  const publisher = new Publisher(parts);
  const tokens = new AssetTokens(parts.uploadTokenKey);
  const assets = new AssetsService({ ...parts, tokens });
  const workers = new WorkersService(parts);
  const versions = new VersionsService({ ...parts, publisher, assets });
  const ownership = new Ownership({ rule: parts.ownershipRule, hostNames });
  const routes = new RoutesService({ ...parts, ownership });
  const pages = createPages({ ...parts, publisher, workers, uploadTokens: tokens });
  return {
    selfAuthenticated: [createAssetUploadRoutes(assets), createPagesAssetRoutes(pages.assets)],
    resources: [
      createAccountRoutes(accounts),
      createTokenRoutes(parts.tokens),
      createAuditRoutes(parts.database),
      createWorkerRoutes(workers),
      createVersionRoutes(versions, blobs),
      createDeploymentRoutes(new DeploymentsService(parts)),
      createSecretRoutes(new SecretsService({ ...parts, publisher })),
      createAssetRoutes(assets),
      createSubdomainRoutes(workers, hostNames),
      createRouteRoutes(routes, new ZonesService({ ...parts, ownership })),
      createDomainRoutes(routes),
      createOwnershipRoutes(new DomainsService({ ...parts, ownership })),
      createScheduleRoutes(new SchedulesService(parts)),
      createUsageRoutes(parts.usage),
      createPagesRoutes({ ...pages, hostNames }),
      createUnsupportedRoutes(),
    ],
  };
}

function createPages(
  parts: ResourceParts & {
    readonly publisher: Publisher;
    readonly workers: WorkersService;
    readonly uploadTokens: AssetTokens;
  },
) {
  const assets = new PagesAssets({ ...parts, tokens: parts.uploadTokens });
  const secrets = new ProjectSecretStore(parts.sealer);
  const projects = new ProjectsService({ ...parts, secrets });
  const deployments = new PagesDeployments({ ...parts, assets, projects, secrets });
  return { assets, projects, deployments };
}
