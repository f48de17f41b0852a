import { Hono } from "hono";
import { z } from "zod";
import {
  accountOfKey,
  encodeMessage,
  importPublicKey,
  PREVIEW_SIGNATURE_HEADER,
  PreviewLabel,
  signState,
  WorkerKey,
  workerNameOfKey,
  type Preview,
} from "../contract/index.ts";
import type { DesiredState } from "../desired-state/desired-state.ts";
import { ControlPlaneError } from "../errors.ts";
import { bearerToken } from "../http/authentication.ts";
import type { ApiEnvironment } from "../http/request-context.ts";
import type { NodesService } from "../nodes/service.ts";
import { sealWorker } from "./sealed-worker.ts";

export interface PreviewRoutesOptions {
  readonly nodes: NodesService;
  readonly desiredState: DesiredState;
  /** Ed25519 private key, PEM. */
  readonly fleetKey: string;
}

export const PreviewQuery = z.strictObject({ worker: WorkerKey, label: PreviewLabel });

/**
 * `GET /fleet/previews`: the version that a preview's host names, to a node that was asked for it. Versions
 * that are not deployed are in no desired state: there are many of them, and hardly one is ever looked at.
 */
export function createPreviewRoutes({
  nodes,
  desiredState,
  fleetKey,
}: PreviewRoutesOptions): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  routes.get("/previews", async (context) => {
    const credential = bearerToken(context.req.header("authorization"));
    const node = credential === undefined ? undefined : await nodes.authenticate(credential);
    if (node === undefined) {
      throw new ControlPlaneError("unauthenticated", "previews are for enrolled nodes");
    }
    const query = PreviewQuery.safeParse(context.req.query());
    if (!query.success) throw new ControlPlaneError("invalid_body", "the query names no preview");
    const { worker, label } = query.data;
    const address = { account: accountOfKey(worker), name: workerNameOfKey(worker) };
    const state = await desiredState.preview({ ...address, label });
    if (state === undefined) return context.body(null, 404);
    const sealed = sealWorker(state, importPublicKey(node.sealingKey));
    const body = encodeMessage({ kind: "preview", label, worker: sealed } satisfies Preview);
    return context.body(body, 200, {
      "content-type": "application/octet-stream",
      [PREVIEW_SIGNATURE_HEADER]: Buffer.from(signState(fleetKey, body)).toString("base64"),
    });
  });
  return routes;
}
