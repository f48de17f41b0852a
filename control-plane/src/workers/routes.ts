import { Hono } from "hono";
import { ControlPlaneError } from "../errors.ts";
import { limitBody, readJson } from "../http/body.ts";
import { success } from "../http/envelope.ts";
import { allowAccount, allowAnyToken, allowWorker } from "../http/permissions.ts";
import type { ApiEnvironment } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";
import {
  presentScript,
  presentScriptSettings,
  presentService,
  presentSettings,
} from "./presentation.ts";
import { ScriptSettingsPatch } from "./schemas.ts";
import type { WorkersService } from "./service.ts";
import { targetOf } from "./target.ts";

const WORKERS = "/accounts/:account/workers";
const SERVICE = `${WORKERS}/services/:worker`;
const SCRIPT = `${WORKERS}/scripts/:worker`;

/** What there is, its settings, and its end. */
export function createWorkerRoutes(workers: WorkersService): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();

  routes.get(SERVICE, allowWorker("viewer"), async (context) => {
    const target = targetOf(context);
    const details = await workers.find(target);
    if (details !== undefined) return context.json(success(presentService(details)));
    throw new ControlPlaneError(
      "service_not_found",
      `This service does not exist on your account: '${target.name}'`,
    );
  });

  routes.get(`${WORKERS}/scripts`, allowAccount("viewer"), async (context) => {
    const all = await workers.list(context.var.principal);
    return context.json(success(all.map(presentScript)));
  });

  routes.get(`${SCRIPT}/settings`, allowWorker("viewer"), async (context) =>
    context.json(success(presentSettings(await workers.get(targetOf(context))))),
  );

  routes.get(`${SCRIPT}/script-settings`, allowWorker("viewer"), async (context) =>
    context.json(success(presentScriptSettings(await workers.get(targetOf(context))))),
  );

  routes.patch(
    `${SCRIPT}/script-settings`,
    allowWorker("deployer"),
    limitBody(LIMITS.jsonBodyBytesMax),
    async (context) => {
      const patch = await readJson(context, ScriptSettingsPatch);
      const worker = await workers.patchSettings(targetOf(context), patch);
      return context.json(success(presentScriptSettings({ worker })));
    },
  );

  for (const path of [SERVICE, SCRIPT]) {
    routes.delete(path, allowWorker("deployer"), async (context) => {
      const isForced = context.req.query("force") === "true";
      await workers.remove(targetOf(context), { isForced });
      return context.json(success({ id: targetOf(context).name }));
    });
  }

  routes.get(`${SCRIPT}/references`, allowWorker("viewer"), async (context) => {
    const target = targetOf(context);
    await workers.get(target);
    const callers = await workers.callersOf(target);
    const incoming = callers.map((name) => ({ name, service: name, environment: "production" }));
    const services = { incoming, outgoing: [], pages_function: false };
    return context.json(success({ services, durable_objects: [], dispatch_outbounds: [] }));
  });

  routes.get(`${WORKERS}/tails/by-consumer/:worker`, allowWorker("viewer"), async (context) => {
    const target = targetOf(context);
    const producers = await workers.tailProducersOf(target);
    const consumer = { service: target.name, environment: "production" };
    const rows = producers.map((service) => ({ consumer, producer: { ...consumer, service } }));
    return context.json(success(rows));
  });

  // There are none, as uploads that ask for them are refused: wrangler asks before it deletes a worker.
  routes.get(`${WORKERS}/durable_objects/namespaces`, allowAnyToken, (context) =>
    context.json(success([])),
  );

  return routes;
}
