import { Hono, type Context } from "hono";
import type { BlobStore } from "../blobs/blob-store.ts";
import { limitBody } from "../http/body.ts";
import { success } from "../http/envelope.ts";
import { limitConcurrency } from "../http/gate.ts";
import { allowWorker } from "../http/permissions.ts";
import type { ApiEnvironment } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";
import { targetOf } from "../workers/target.ts";
import { writeContent } from "./content.ts";
import { codeTag, presentVersion } from "./presentation.ts";
import type { VersionsService } from "./service.ts";
import { readUploadForm } from "./upload-form.ts";

const SCRIPT = "/accounts/:account/workers/scripts/:worker";

/** Uploads, and the versions that they made. */
export function createVersionRoutes(
  versions: VersionsService,
  blobs: BlobStore,
): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  const gate = limitConcurrency({
    inProgressMax: LIMITS.uploadsMax,
    waitingMax: LIMITS.uploadsWaitingMax,
  });
  const bound = limitBody(LIMITS.uploadBytesMax);

  routes.put(SCRIPT, allowWorker("deployer"), gate, bound, async (context) => {
    const target = targetOf(context);
    const form = await readUploadForm(context.req.raw);
    const added = await versions.deployUpload(target, form);
    return context.json(
      success({
        id: target.name,
        etag: codeTag(added.version),
        handlers: null,
        created_on: added.version.createdAt,
        modified_on: added.version.createdAt,
        startup_time_ms: added.notes.startupMs,
        // wrangler prints this as the version's id.
        deployment_id: added.version.id,
      }),
    );
  });

  routes.post(`${SCRIPT}/versions`, allowWorker("deployer"), gate, bound, async (context) => {
    const target = targetOf(context);
    const form = await readUploadForm(context.req.raw);
    return context.json(success(presentVersion(await versions.recordUpload(target, form))));
  });

  routes.get(`${SCRIPT}/versions`, allowWorker("viewer"), async (context) => {
    const items = await versions.list(targetOf(context));
    return context.json(success({ items: items.map(presentVersion) }));
  });

  routes.get(`${SCRIPT}/versions/:version`, allowWorker("viewer"), async (context) => {
    const found = await versions.get(targetOf(context), versionOf(context));
    return context.json(success(presentVersion(found)));
  });

  routes.get(`${SCRIPT}/content/v2`, allowWorker("viewer"), async (context) => {
    const id = context.req.query("version") ?? "latest";
    return writeContent(await versions.get(targetOf(context), id), blobs);
  });

  return routes;
}

function versionOf(context: Context): string {
  return context.req.param("version") ?? "";
}
