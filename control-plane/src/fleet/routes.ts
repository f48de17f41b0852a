import { createHash } from "node:crypto";
import { Hono } from "hono";
import type { BlobStore } from "../blobs/blob-store.ts";
import { BlobHash, EnrolRequest, publicFleetKey, type EnrolResponse } from "../contract/index.ts";
import { ControlPlaneError } from "../errors.ts";
import { bearerToken, callerOf } from "../http/authentication.ts";
import { limitBody, readJson } from "../http/body.ts";
import type { ApiEnvironment } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";
import type { NodesService } from "../nodes/service.ts";

export interface FleetRoutesOptions {
  readonly nodes: NodesService;
  readonly blobs: BlobStore;
  /** Ed25519 private key, PEM. */
  readonly fleetKey: string;
}

/** `/fleet`: how a node enrols, and the content that is too large for its connection. */
export function createFleetRoutes({
  nodes,
  blobs,
  fleetKey,
}: FleetRoutesOptions): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();

  routes.post("/enrol", limitBody(LIMITS.enrolBodyBytesMax), async (context) => {
    const request = await readJson(context, EnrolRequest);
    const { credential } = await nodes.enrol(request, callerOf(context));
    return context.json({ credential, fleetKey: publicFleetKey(fleetKey) } satisfies EnrolResponse);
  });

  routes.use("/blobs/*", async (context, next) => {
    const credential = bearerToken(context.req.header("authorization"));
    const node = credential === undefined ? undefined : await nodes.authenticate(credential);
    if (node === undefined) {
      throw new ControlPlaneError("unauthenticated", "blobs are for enrolled nodes");
    }
    await next();
  });

  routes.get("/blobs/:hash", async (context) => {
    const content = await blobs.get(parseHash(context.req.param("hash")));
    if (content === undefined) return context.body(null, 404);
    return context.body(Uint8Array.from(content), 200, {
      "content-type": "application/octet-stream",
    });
  });

  routes.put("/blobs/:hash", limitBody(LIMITS.blobBytesMax), async (context) => {
    const hash = parseHash(context.req.param("hash"));
    const content = new Uint8Array(await context.req.arrayBuffer());
    // The store verifies as well; this answers a sender whose content was damaged on its way.
    const actual = createHash("sha256").update(content).digest("hex");
    if (actual !== hash) {
      throw new ControlPlaneError("blob_mismatch", `content sent as ${hash} hashes to ${actual}`);
    }
    await blobs.put(hash, content);
    return context.body(null, 204);
  });

  return routes;
}

function parseHash(text: string): BlobHash {
  const hash = BlobHash.safeParse(text);
  if (!hash.success) throw new ControlPlaneError("invalid_body", `'${text}' is not a blob hash`);
  return hash.data;
}
