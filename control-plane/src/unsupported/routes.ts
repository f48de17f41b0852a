import { Hono } from "hono";
import { ControlPlaneError } from "../errors.ts";
import { allowAnyToken } from "../http/permissions.ts";
import type { ApiEnvironment } from "../http/request-context.ts";

const ACCOUNT = "/accounts/:account";

/**
 * What wrangler asks for before it uploads a binding, and in commands of their own, and Atoll does not
 * have yet: by path, with the words of Cloudflare's documentation.
 */
const FEATURES: Readonly<Record<string, string>> = {
  [`${ACCOUNT}/r2`]: "R2 buckets",
  [`${ACCOUNT}/d1`]: "D1 databases",
  [`${ACCOUNT}/queues`]: "queues",
  [`${ACCOUNT}/event_subscriptions`]: "queues",
  [`${ACCOUNT}/workflows`]: "workflows",
  [`${ACCOUNT}/vectorize`]: "Vectorize indexes",
  [`${ACCOUNT}/hyperdrive`]: "Hyperdrive configurations",
  [`${ACCOUNT}/pipelines`]: "pipelines",
  [`${ACCOUNT}/secrets_store`]: "secrets stores",
  [`${ACCOUNT}/pages`]: "Pages projects (deploy the project as a Worker with static assets)",
  [`${ACCOUNT}/containers`]: "containers",
  [`${ACCOUNT}/cfd_tunnel`]: "tunnels",
  [`${ACCOUNT}/workers/dispatch`]: "dispatch namespaces",
};

/** Names the feature that is missing, where `not_found` would only name the address. */
export function createUnsupportedRoutes(): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  for (const [path, feature] of Object.entries(FEATURES)) {
    routes.all(`${path}/*`, allowAnyToken, () => {
      throw new ControlPlaneError("unsupported", `Atoll does not support ${feature} yet`);
    });
  }
  return routes;
}
