import { isDeepStrictEqual } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { BlobHash } from "../contract/index.ts";
import { LIMITS } from "../limits.ts";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";
import { DoomedThread } from "../test-support/doomed-thread.ts";
import { fileOf, manifestOf, PagesSite } from "../test-support/pages-site.ts";
import { announcementOf, assetOf, sendAssets, type SentAsset } from "../test-support/sent-asset.ts";

let api: ControlPlaneApi;
let thread: DoomedThread;
beforeEach(async () => {
  thread = new DoomedThread();
  api = await ControlPlaneApi.start();
  // The first job is what starts the thread.
  const first = assetOf("/first.html", "first");
  await sendAssets(api, { jwt: (await announce([first])).jwt, assets: [first] });
});
afterEach(async () => {
  await api.close();
  thread.close();
});

async function announce(assets: ReadonlyArray<SentAsset>) {
  const path = "POST A/workers/scripts/site/assets-upload-session";
  return (await api.call(path, { manifest: announcementOf(assets) })).result;
}

/** What accounts have, staged or not. */
async function contentNames(): Promise<ReadonlyArray<string>> {
  const rows = await api.controlPlane.database
    .selectFrom("asset_contents")
    .select("hash")
    .execute();
  return rows.map(({ hash }) => hash).sort();
}

/** What a deployed worker serves, by path. */
async function served(): Promise<Readonly<Record<string, string>>> {
  const { desiredState, blobs } = api.controlPlane;
  const read = async (hash: unknown): Promise<string> =>
    Buffer.from((await blobs.get(BlobHash.parse(hash))) ?? []).toString();
  const [worker] = (await desiredState.snapshot()).workers;
  const manifest = await read(worker?.versions[0]?.version.assets?.manifest);
  const files = Object.entries(JSON.parse(manifest) as Record<string, { readonly blob: string }>);
  return Object.fromEntries(
    await Promise.all(files.map(async ([path, { blob }]) => [path, await read(blob)] as const)),
  );
}

const TRY_AGAIN = {
  status: 503,
  errors: [{ code: 10_002, message: expect.stringMatching(/thread .* died.*again/) }],
};

describe("a decoding thread that dies: ", () => {
  // Each fills a batch of its own.
  const site = ["a", "b", "c"].map((letter) =>
    assetOf(`/${letter}.html`, letter.repeat((LIMITS.assetBatchBytesMax / 4) * 3)),
  );

  test("an upload that it is in the midst of is refused for now, and nothing of it is the account's", async () => {
    const before = await contentNames();
    const { jwt, buckets } = await announce(site);
    thread.dieAfter(1);
    expect(await sendAssets(api, { jwt, assets: site })).toMatchObject({
      ...TRY_AGAIN,
      retryAfter: String(LIMITS.unavailableRetrySeconds),
    });
    expect(thread.isDead).toBe(true);
    expect(await contentNames()).toEqual(before);
    expect((await announce(site)).buckets).toEqual(buckets);
    // The same call once more, as wrangler makes it.
    const sent = await sendAssets(api, { jwt, assets: site });
    expect(sent).toMatchObject({ status: 201 });
    await api.deploy("site", { assets: { jwt: sent.result?.jwt } });
    const files = Object.fromEntries(site.map(({ path, content }) => [path, content]));
    // A difference of such texts would take minutes to print.
    expect(isDeepStrictEqual(await served(), files)).toBe(true);
  });

  test("who uploads beside it is refused for now, too, or not at all", async () => {
    const others = [assetOf("/d.html", "d"), assetOf("/e.html", "e")];
    const { jwt } = await announce([...site, ...others]);
    thread.dieAfter(2);
    const sent = await Promise.all(
      [site, others].map((assets) => sendAssets(api, { jwt, assets })),
    );
    expect(sent.map(({ status }) => status)).toContain(503);
    for (const [index, assets] of [site, others].entries()) {
      if (sent[index]?.status === 202) continue;
      expect(sent[index]).toMatchObject(TRY_AGAIN);
      expect((await sendAssets(api, { jwt, assets })).success).toBe(true);
    }
    expect(await announce([...site, ...others])).toMatchObject({ buckets: [] });
  });

  test("files of pages that it was to verify stay staged, and the same deployment succeeds then", async () => {
    const pages = { "/index.html": "<h1>hi</h1>", "/a.html": "a" };
    const blog = new PagesSite(api, "blog");
    await blog.create();
    const token = await blog.token();
    await blog.upload(
      token,
      Object.entries(pages).map(([path, content]) => fileOf(path, content)),
    );
    const staged = await contentNames();
    thread.dieAfter(0);
    expect(await blog.deploy(manifestOf(pages))).toMatchObject(TRY_AGAIN);
    expect(thread.isDead).toBe(true);
    expect(await contentNames()).toEqual(staged);
    expect((await blog.deploy(manifestOf(pages))).status).toBe(200);
    expect(await served()).toEqual(pages);
  });
});
