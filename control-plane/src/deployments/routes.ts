import { Hono } from "hono";
import { limitBody, readJson } from "../http/body.ts";
import { success } from "../http/envelope.ts";
import { allowWorker } from "../http/permissions.ts";
import type { ApiEnvironment } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";
import { AUTHOR } from "../versions/presentation.ts";
import { targetOf } from "../workers/target.ts";
import { DeploymentRequest, type Deployment } from "./schemas.ts";
import type { DeploymentsService } from "./service.ts";

const DEPLOYMENTS = "/accounts/:account/workers/scripts/:worker/deployments";

/** Which versions serve, and which served before. */
export function createDeploymentRoutes(deployments: DeploymentsService): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();

  routes.get(DEPLOYMENTS, allowWorker("viewer"), async (context) => {
    const list = await deployments.list(targetOf(context));
    return context.json(success({ deployments: list.map(presentDeployment) }));
  });

  routes.post(
    DEPLOYMENTS,
    allowWorker("deployer"),
    limitBody(LIMITS.jsonBodyBytesMax),
    async (context) => {
      const request = await readJson(context, DeploymentRequest);
      const isForced = context.req.query("force") === "true";
      const deployment = await deployments.create(targetOf(context), request, { isForced });
      return context.json(success(presentDeployment(deployment)));
    },
  );

  return routes;
}

function presentDeployment(deployment: Deployment): Readonly<Record<string, unknown>> {
  return {
    id: deployment.id,
    source: "wrangler",
    strategy: "percentage",
    author_email: AUTHOR,
    created_on: deployment.createdAt,
    annotations: deployment.annotations,
    versions: deployment.versions,
  };
}
