import { Hono } from "hono";
import { limitBody, readJson } from "../http/body.ts";
import { success } from "../http/envelope.ts";
import { allowWorker } from "../http/permissions.ts";
import type { ApiEnvironment } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";
import { targetOf } from "../workers/target.ts";
import { TAILS_PATH } from "./open-tails.ts";
import { TailRequest } from "./schemas.ts";
import type { DescribedTail, TailsService } from "./service.ts";

const TAILS = "/accounts/:account/workers/scripts/:worker/tails";

/** Tails of a worker, as wrangler opens and ends them. */
export function createTailRoutes(tails: TailsService): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();

  routes.get(TAILS, allowWorker("viewer"), async (context) => {
    const all = await tails.list(targetOf(context));
    return context.json(success(all.map(present)));
  });

  const bound = limitBody(LIMITS.jsonBodyBytesMax);
  // What requests carry and workers log are values, which viewers do not see.
  routes.post(TAILS, allowWorker("deployer"), bound, async (context) => {
    const { filters } = await readJson(context, TailRequest);
    const { secret, ...tail } = await tails.create(targetOf(context), filters);
    // wrangler sends no token with the connection: the address is what lets it in.
    const scheme = context.req.header("x-forwarded-proto") === "https" ? "wss" : "ws";
    const url = `${scheme}://${new URL(context.req.url).host}${TAILS_PATH}${secret}`;
    return context.json(success({ ...present(tail), url }));
  });

  routes.delete(`${TAILS}/:tail`, allowWorker("deployer"), async (context) => {
    await tails.remove(targetOf(context), context.req.param("tail"));
    return context.json(success(null));
  });

  return routes;
}

function present({ id, expiresAt }: DescribedTail): Readonly<Record<string, string>> {
  return { id, expires_at: expiresAt };
}
