import type { KyselyPlugin } from "kysely";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createAssetDecoder } from "../assets/asset-decoder.ts";
import { AssetTokens } from "../assets/asset-tokens.ts";
import { WorkerName } from "../contract/index.ts";
import { openDatabase } from "../database/open-database.ts";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";
import { fileOf, manifestOf, PagesSite } from "../test-support/pages-site.ts";
import { PagesAssets } from "./assets.ts";

let api: ControlPlaneApi;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
});
afterEach(() => api.close());

/** Does something once, when the first statement was answered. */
function afterFirst(action: () => Promise<unknown>): KyselyPlugin {
  let isFirst = true;
  return {
    transformQuery: ({ node }) => node,
    transformResult: async ({ result }) => {
      if (isFirst) {
        isFirst = false;
        await action();
      }
      return result;
    },
  };
}

test("two deployments of the same new files at once: both find all that was sent", async () => {
  const site = new PagesSite(api, "blog");
  await site.create();
  const manifest = manifestOf({ "/index.html": "new" });
  await site.upload(await site.token(), [fileOf("/index.html", "new")]);
  const { directory: dataDirectory, databaseUrl, clock } = api;
  const database = await openDatabase({ dataDirectory, databaseUrl });
  const decoder = createAssetDecoder();
  const { account } = api.principal();
  const assets = new PagesAssets({
    database: database.withPlugin(
      afterFirst(async () => expect(await site.deploy(manifest)).toMatchObject({ status: 200 })),
    ),
    ...{ decoder, clock, blobs: api.controlPlane.blobs, tokens: new AssetTokens(Buffer.alloc(32)) },
  });
  const place = { account, project: WorkerName.parse("blog") };
  const written = await assets.writeManifest(place, manifest);
  const [worker] = (await api.controlPlane.desiredState.snapshot()).workers;
  expect(worker?.versions[0]?.version.assets?.manifest).toBe(written);
  await decoder.close();
  await database.destroy();
});
