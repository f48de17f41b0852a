import { Hono } from "hono";
import { jsonOf, limitBody, parseInput, readJson } from "../http/body.ts";
import { success } from "../http/envelope.ts";
import { allowWorker } from "../http/permissions.ts";
import type { ApiEnvironment } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";
import { readFormData } from "../versions/upload-form.ts";
import { targetOf } from "../workers/target.ts";
import { LatestVersionPatch, SecretRequest, SecretsPatch, SettingsPatch } from "./schemas.ts";
import type { SecretsService } from "./service.ts";

const WORKERS = "/accounts/:account/workers";
const SCRIPT = `${WORKERS}/scripts/:worker`;

/** Names of secrets out, names and values in; values never come out. */
export function createSecretRoutes(secrets: SecretsService): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  const bound = limitBody(LIMITS.jsonBodyBytesMax);

  routes.get(`${SCRIPT}/secrets`, allowWorker("viewer"), async (context) => {
    const names = await secrets.list(targetOf(context));
    return context.json(success(names.map(presentSecret)));
  });

  routes.put(`${SCRIPT}/secrets`, allowWorker("deployer"), bound, async (context) => {
    const { name, text } = await readJson(context, SecretRequest);
    await secrets.change(targetOf(context), new Map([[name, text]]));
    return context.json(success(presentSecret(name)));
  });

  routes.delete(`${SCRIPT}/secrets/:secret`, allowWorker("deployer"), async (context) => {
    await secrets.change(targetOf(context), new Map([[context.req.param("secret"), null]]));
    return context.json(success(null));
  });

  routes.patch(`${SCRIPT}/secrets-bulk`, allowWorker("deployer"), bound, async (context) => {
    const { secrets: changes } = await readJson(context, SecretsPatch);
    await secrets.change(targetOf(context), changes);
    return context.json(success({}));
  });

  // `wrangler secret bulk` of older versions: the whole list of bindings, the kept ones by type and name.
  routes.patch(`${SCRIPT}/settings`, allowWorker("deployer"), bound, async (context) => {
    const patch = await readSettingsPart(context.req.raw);
    const { version } = await secrets.replaceBindings(targetOf(context), patch);
    return context.json(success({ bindings: version.bindings }));
  });

  routes.patch(
    `${WORKERS}/workers/:worker/versions/latest`,
    allowWorker("deployer"),
    bound,
    async (context) => {
      const { env, annotations } = await readJson(context, LatestVersionPatch);
      const { version } = await secrets.patchLatest(targetOf(context), env, annotations ?? {});
      return context.json(success({ id: version.id, number: version.number }));
    },
  );

  return routes;
}

async function readSettingsPart(request: Request): Promise<SettingsPatch> {
  const part = (await readFormData(request)).get("settings");
  const text = part instanceof File ? await part.text() : (part ?? "");
  const json = jsonOf(text, "The part 'settings' is missing or not JSON");
  return parseInput(SettingsPatch, json, "settings");
}

function presentSecret(name: string): Readonly<Record<string, string>> {
  return { name, type: "secret_text" };
}
