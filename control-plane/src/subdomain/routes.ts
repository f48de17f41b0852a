import { Hono } from "hono";
import { limitBody, readJson } from "../http/body.ts";
import { success } from "../http/envelope.ts";
import { allowAnyToken, allowWorker } from "../http/permissions.ts";
import type { ApiEnvironment } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";
import type { HostNames } from "../routes/host-names.ts";
import { SubdomainSwitch, type StoredWorker } from "../workers/schemas.ts";
import type { WorkersService } from "../workers/service.ts";
import { targetOf } from "../workers/target.ts";

const WORKERS = "/accounts/:account/workers";
const SWITCH = `${WORKERS}/scripts/:worker/subdomain`;

/** The host that every worker has by itself: whether it is on, and how wrangler prints it. */
export function createSubdomainRoutes(
  workers: WorkersService,
  hostNames: HostNames,
): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();

  routes.get(`${WORKERS}/subdomain`, allowAnyToken, (context) =>
    context.json(success({ subdomain: hostNames.printedSubdomain() })),
  );

  routes.get(SWITCH, allowWorker("viewer"), async (context) => {
    const { worker } = await workers.get(targetOf(context));
    return context.json(success(presentSwitch(worker)));
  });

  routes.post(
    SWITCH,
    allowWorker("deployer"),
    limitBody(LIMITS.jsonBodyBytesMax),
    async (context) => {
      const state = await readJson(context, SubdomainSwitch);
      const worker = await workers.switchSubdomain(targetOf(context), state);
      return context.json(success(presentSwitch(worker)));
    },
  );

  // Newer wranglers ask this after each upload and print the host of `url`.
  routes.get(`${WORKERS}/workers/:worker`, allowWorker("viewer"), async (context) => {
    const { worker } = await workers.get(targetOf(context));
    const subdomain = {
      ...presentSwitch(worker),
      url: hostNames.urlOf(worker.name),
      preview_url_suffix: hostNames.previewSuffix(worker.name),
    };
    return context.json(success({ id: worker.id, name: worker.name, subdomain }));
  });

  return routes;
}

function presentSwitch(worker: StoredWorker): Readonly<Record<string, boolean>> {
  return { enabled: worker.isOnSubdomain, previews_enabled: worker.hasPreviews };
}
