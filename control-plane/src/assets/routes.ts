import { Hono } from "hono";
import { ControlPlaneError } from "../errors.ts";
import { bearerToken } from "../http/authentication.ts";
import { limitBody, readJson } from "../http/body.ts";
import { success } from "../http/envelope.ts";
import { limitConcurrency } from "../http/gate.ts";
import { readParts, type Part } from "../http/multipart.ts";
import { allowWorker } from "../http/permissions.ts";
import type { ApiEnvironment } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";
import { targetOf } from "../workers/target.ts";
import { AssetHash, AssetSessionRequest } from "./schemas.ts";
import type { AssetsService, UploadedAsset } from "./service.ts";

// What wrangler sends for an extension that it knows no type for.
const NO_TYPE = "application/null";

/** The announcement of an upload. */
export function createAssetRoutes(assets: AssetsService): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  const path = "/accounts/:account/workers/scripts/:worker/assets-upload-session";
  routes.post(
    path,
    allowWorker("deployer"),
    limitBody(LIMITS.assetManifestBytesMax),
    async (context) => {
      const { manifest } = await readJson(context, AssetSessionRequest);
      const { token, buckets } = await assets.start(targetOf(context), manifest);
      return context.json(success({ jwt: token, buckets }));
    },
  );
  return routes;
}

/** The files themselves: these calls carry the upload's own token instead of an API token. */
export function createAssetUploadRoutes(assets: AssetsService): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  const gate = limitConcurrency({
    inProgressMax: LIMITS.assetUploadsMax,
    waitingMax: LIMITS.uploadsWaitingMax,
  });
  const bound = limitBody(LIMITS.assetUploadBytesMax);
  routes.post("/accounts/:account/workers/assets/upload", gate, bound, async (context) => {
    const claims = assets.claimsOf(bearerToken(context.req.header("authorization")) ?? "");
    if (claims.account !== context.req.param("account")) {
      throw new ControlPlaneError("account_forbidden", "The upload's token is of another account");
    }
    if (context.req.query("base64") !== "true") {
      throw new ControlPlaneError("invalid_body", "Assets are uploaded in base64: set base64=true");
    }
    const jwt = await assets.upload(claims, readAssets(context.req.raw));
    return context.json(success(jwt === undefined ? {} : { jwt }), jwt === undefined ? 202 : 201);
  });
  return routes;
}

async function* readAssets(request: Request): AsyncIterable<UploadedAsset> {
  for await (const part of readParts(request, LIMITS.assetPartBytesMax)) yield readAsset(part);
}

function readAsset({ name, contentType: type = "", content: base64 }: Part): UploadedAsset {
  const hash = AssetHash.safeParse(name);
  if (!hash.success) {
    throw new ControlPlaneError(
      "asset_invalid",
      `The part '${name.slice(0, 100)}' is not named by an asset's hash`,
    );
  }
  if (type === "" || type === NO_TYPE) return { hash: hash.data, base64 };
  if (!/^[\x20-\x7e]{1,255}$/.test(type)) {
    throw new ControlPlaneError(
      "asset_invalid",
      `The asset ${name} has a content type that is none`,
    );
  }
  return { hash: hash.data, base64, contentType: type };
}
