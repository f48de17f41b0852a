import { Hono } from "hono";
import { ControlPlaneError } from "../errors.ts";
import { allowAnyToken } from "../http/permissions.ts";
import type { ApiEnvironment } from "../http/request-context.ts";

const ACCOUNT = "/accounts/:account";
const ZONE = "/zones/:zone";

const REMOTE_DEVELOPMENT = "'wrangler dev --remote' and remote bindings";
const PREVIEW_COMMAND = "'wrangler preview'";
const PAGES_TAIL = "'wrangler pages deployment tail'";

/**
 * What wrangler asks for before it uploads a binding, and in commands of their own, and Atoll does not
 * have yet: by path, with the words of Cloudflare's documentation.
 */
const FEATURES: Readonly<Record<string, string>> = {
  [`${ACCOUNT}/r2`]: "R2 buckets",
  [`${ACCOUNT}/r2-catalog`]: "R2 Data Catalog",
  [`${ACCOUNT}/event_notifications`]: "R2 event notifications",
  [`${ACCOUNT}/d1`]: "D1 databases",
  [`${ACCOUNT}/queues`]: "queues",
  [`${ACCOUNT}/event_subscriptions`]: "queues",
  [`${ACCOUNT}/triggers`]: "event triggers",
  [`${ACCOUNT}/workflows`]: "workflows",
  [`${ACCOUNT}/vectorize`]: "Vectorize indexes",
  [`${ACCOUNT}/hyperdrive`]: "Hyperdrive configurations",
  [`${ACCOUNT}/pipelines`]: "pipelines",
  [`${ACCOUNT}/k2`]: "K2 streams",
  [`${ACCOUNT}/secrets_store`]: "secrets stores",
  [`${ACCOUNT}/ai`]: "Workers AI",
  [`${ACCOUNT}/ai-search`]: "AI Search",
  [`${ACCOUNT}/agent-memory`]: "Agent Memory",
  [`${ACCOUNT}/artifacts`]: "Artifacts",
  [`${ACCOUNT}/browser-rendering`]: "Browser Rendering",
  [`${ACCOUNT}/email`]: "Email Routing and Email Sending",
  [`${ZONE}/email`]: "Email Routing and Email Sending",
  [`${ACCOUNT}/challenges`]: "Turnstile widgets",
  [`${ACCOUNT}/flagship`]: "Flagship",
  [`${ACCOUNT}/mtls_certificates`]: "mTLS certificates",
  [`${ACCOUNT}/connectivity`]: "VPC services",
  [`${ACCOUNT}/containers`]: "containers",
  [`${ACCOUNT}/cfd_tunnel`]: "tunnels",
  [`${ACCOUNT}/workers/dispatch`]: "dispatch namespaces",
  [`${ACCOUNT}/workers/subdomain/edge-preview`]: REMOTE_DEVELOPMENT,
  [`${ACCOUNT}/workers/scripts/:script/subdomain/edge-preview`]: REMOTE_DEVELOPMENT,
  [`${ZONE}/workers/edge-preview`]: REMOTE_DEVELOPMENT,
  [`${ACCOUNT}/workers/workers/:script/previews`]: PREVIEW_COMMAND,
  [`${ACCOUNT}/pages/projects/:project/deployments/:deployment/tails`]: PAGES_TAIL,
  [`${ACCOUNT}/pages`]: "this part of Pages projects",
};

/** What there is in place of a feature. */
const INSTEAD: Readonly<Record<string, string>> = {
  [REMOTE_DEVELOPMENT]:
    "'wrangler dev' runs the project on this machine, and 'atoll dev --remote-kv' with the KV namespaces of this Atoll",
  [PREVIEW_COMMAND]: "'wrangler versions upload' makes previews",
  [PAGES_TAIL]: "'wrangler tail <project>' shows what is in production",
};

/** Names the feature that is missing, where `not_found` would only name the address. */
export function createUnsupportedRoutes(): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  for (const [path, feature] of Object.entries(FEATURES)) {
    const instead = INSTEAD[feature] === undefined ? "" : `: ${INSTEAD[feature]}`;
    routes.all(`${path}/*`, allowAnyToken, () => {
      throw new ControlPlaneError("unsupported", `Atoll does not support ${feature} yet${instead}`);
    });
  }
  return routes;
}
