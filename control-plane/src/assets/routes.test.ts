import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { BlobHash } from "../contract/index.ts";
import { LIMITS } from "../limits.ts";
import { ControlPlaneApi, uploadForm } from "../test-support/control-plane-api.ts";
import { announcementOf, assetOf, sendAssets, type SentAsset } from "../test-support/sent-asset.ts";

let api: ControlPlaneApi;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
});
afterEach(() => api.close());

async function announce(manifest: object, worker = "site") {
  return api.call(`POST A/workers/scripts/${worker}/assets-upload-session`, { manifest });
}

function send(jwt: string, assets: ReadonlyArray<SentAsset>, path?: string) {
  return sendAssets(api, { jwt, assets, ...(path !== undefined && { path }) });
}

async function servedManifestHash(): Promise<BlobHash> {
  const [worker] = (await api.controlPlane.desiredState.snapshot()).workers;
  return BlobHash.parse(worker?.versions[0]?.version.assets?.manifest);
}

async function servedManifest(): Promise<unknown> {
  const hash = await servedManifestHash();
  return JSON.parse(Buffer.from((await api.controlPlane.blobs.get(hash)) ?? []).toString());
}

describe("assets: ", () => {
  test("only missing files travel, and the completion token stands for the manifest", async () => {
    const page = assetOf("/index.html", "<h1>hi</h1>", "text/html; charset=utf-8");
    const plain = assetOf("/sub/t é", "x", "application/null");
    const first = await announce(announcementOf([page, plain]));
    expect(first.result.buckets.flat().sort()).toEqual([page.hash, plain.hash].sort());
    expect(await send(first.result.jwt, [page])).toMatchObject({ status: 202, result: {} });
    const last = await send(first.result.jwt, [plain]);
    expect(last).toMatchObject({ status: 201, result: { jwt: expect.any(String) } });

    const assets = {
      jwt: last.result?.jwt,
      config: { html_handling: "none", _headers: "/*\n  A: b", run_worker_first: ["/api/*"] },
    };
    expect(await api.call("PUT A/workers/scripts/site", uploadForm({ assets }, []))).toMatchObject({
      success: true,
    });
    const [worker] = (await api.controlPlane.desiredState.snapshot()).workers;
    expect(worker?.versions[0]?.version).toMatchObject({
      code: { kind: "none" },
      assets: { htmlHandling: "none", headers: "/*\n  A: b", runWorkerFirst: ["/api/*"] },
    });
    const blob = expect.stringMatching(/^[0-9a-f]{64}$/);
    expect(await servedManifest()).toEqual({
      "/index.html": { blob, size: 11, contentType: "text/html; charset=utf-8" },
      "/sub/t é": { blob, size: 1 },
    });

    const other = assetOf("/new.html", "new");
    const second = await announce(announcementOf([page, plain, other]));
    expect(second.result.buckets).toEqual([[other.hash]]);
    const third = await announce(announcementOf([page, plain]));
    expect(third.result.buckets).toEqual([]);
    await api.call(
      "PUT A/workers/scripts/site",
      uploadForm({ assets: { jwt: third.result.jwt } }, []),
    );
  });

  test("the same files are one site, whatever the order in which they are announced", async () => {
    const files = ["/a.bin", "/b.bin", "/c.bin"].map((path) => assetOf(path, path));
    const first = await announce(announcementOf(files));
    const sent = await send(first.result.jwt, files);
    await api.deploy("site", { assets: { jwt: sent.result?.jwt } });
    const hash = await servedManifestHash();
    // As wrangler does, which hashes files at the same time and tells them as they are done.
    const again = await announce(announcementOf(files.toReversed()));
    await api.deploy("site", { assets: { jwt: again.result.jwt } });
    expect(await servedManifestHash()).toBe(hash);
  });

  test("kept assets stay with the next version; without the word they are gone", async () => {
    const page = assetOf("/index.html", "hi");
    const { result } = await announce(announcementOf([page]));
    const sent = await send(result.jwt, [page]);
    const assets = { jwt: sent.result?.jwt, config: { not_found_handling: "404-page" } };
    await api.deploy("site", { assets });
    await api.deploy("site", { keep_assets: true });
    expect(Object.keys((await servedManifest()) as object)).toEqual(["/index.html"]);
    const [kept] = (await api.controlPlane.desiredState.snapshot()).workers;
    expect(kept?.versions[0]?.version.assets?.notFoundHandling).toBe("404-page");
    await api.deploy("site");
    const [dropped] = (await api.controlPlane.desiredState.snapshot()).workers;
    expect(dropped?.versions[0]?.version.assets).toBeUndefined();
  });

  test("rules that begin with a byte order mark are what they are without it", async () => {
    const { result } = await announce({});
    const config = { _headers: "\uFEFF/*\n  A: \uFEFFb", _redirects: "\uFEFF/one /two 301" };
    await api.deploy("site", { assets: { jwt: result.jwt, config } });
    const [site] = (await api.controlPlane.desiredState.snapshot()).workers;
    expect(site?.versions[0]?.version.assets).toMatchObject({
      headers: "/*\n  A: \uFEFFb",
      redirects: "/one /two 301",
    });
  });

  test("an account's files are not another's: both have to send them", async () => {
    const page = assetOf("/index.html", "hi");
    const { result } = await announce(announcementOf([page]));
    await send(result.jwt, [page]);
    const theirs = await api.call(
      "POST A/workers/scripts/their-site/assets-upload-session",
      { manifest: announcementOf([page]) },
      "theirs",
    );
    expect(theirs.result.buckets).toEqual([[page.hash]]);
  });

  test("content that is not what was announced is refused", async () => {
    const page = assetOf("/index.html", "right");
    const { result } = await announce(announcementOf([page]));
    const cases = [
      { sent: { ...page, content: "wrong" }, message: /hashes to [0-9a-f]{32}, but was announced/ },
      { sent: { ...page, content: "longer" }, message: /announced with 5 bytes but has 6/ },
      { sent: { ...page, hash: "a".repeat(32) }, message: /was not announced/ },
      { sent: { ...page, hash: "short" }, message: /'short' is not named by an asset's hash/ },
    ];
    for (const { sent, message } of cases) {
      const { status, errors } = await send(result.jwt, [sent]);
      expect({ status, code: errors[0]?.code }).toEqual({ status: 400, code: 10_304 });
      expect(errors[0]?.message).toMatch(message);
    }
  });

  test("of a bucket with one wrong file none is the account's, and all are asked for again", async () => {
    const page = assetOf("/index.html", "right");
    const other = assetOf("/other.html", "other");
    const { result } = await announce(announcementOf([page, other]));
    const sent = await send(result.jwt, [page, { ...other, content: "wrong" }]);
    expect(sent).toMatchObject({ status: 400, errors: [{ code: 10_304 }] });
    const again = await announce(announcementOf([page, other]));
    expect(again.result.buckets).toEqual([[page.hash, other.hash]]);
    expect(await send(again.result.jwt, [page, other])).toMatchObject({ status: 201 });
  });

  test("a file that is sent twice in one bucket, or under two extensions, is stored once", async () => {
    const page = assetOf("/index.html", "same");
    const text = assetOf("/index.txt", "same", "text/plain");
    const { result } = await announce(announcementOf([page, text]));
    expect(await send(result.jwt, [page, page, text])).toMatchObject({ status: 201 });
  });

  test("an asset of 25 MiB passes, one byte more is refused by its path", async () => {
    const hash = "a".repeat(32);
    const at = (size: number) => announce({ "/big.bin": { hash, size } });
    expect(await at(LIMITS.assetBytesMax)).toMatchObject({ success: true });
    const { errors } = await at(LIMITS.assetBytesMax + 1);
    expect(errors[0]?.code).toBe(10_304);
    expect(errors[0]?.message).toMatch(/'\/big.bin' has 26214401 bytes, over the limit/);
  });

  test("paths that lead elsewhere, and hashes that are none, are refused", async () => {
    const file = { hash: "a".repeat(32), size: 1 };
    const longest = `/${"a".repeat(LIMITS.assetNameBytesMax)}`.repeat(4);
    expect(longest).toHaveLength(LIMITS.assetPathBytesMax);
    expect(await announce({ [longest]: file })).toMatchObject({ success: true });
    const bad = ["a", "/../a", "/a/./b", "//a", "/a/", "/a\u0000", "/", "/\ud800", `${longest}a`];
    for (const path of bad) {
      expect(await announce({ [path]: file }), path).toMatchObject({ errors: [{ code: 10_001 }] });
    }
    expect(await announce({ "/a": { hash: "../../etc", size: 1 } })).toMatchObject({ status: 400 });
    expect(await announce({ "/a": { ...file, size: -1 } })).toMatchObject({ status: 400 });
    expect(await announce([])).toMatchObject({ status: 400 });
  });

  test("tokens hold for their kind, account, worker and hour only", async () => {
    const page = assetOf("/index.html", "hi");
    const { result } = await announce(announcementOf([page]));
    const upload: string = result.jwt;
    const [header, payload = "", signature] = upload.split(".");
    const forged = Buffer.from(payload, "base64url").toString().replace("site", "evil");
    const strange = [header, Buffer.from(forged).toString("base64url"), signature].join(".");
    for (const jwt of [strange, "x", api.tenants.ours.token, `${upload}x`]) {
      expect(await send(jwt, [page])).toMatchObject({ status: 401, errors: [{ code: 10_305 }] });
    }
    const theirPath = `/accounts/${api.tenants.theirs.account.id}/workers/assets/upload`;
    expect(await send(upload, [page], theirPath)).toMatchObject({ status: 403 });
    expect(await api.deploy("site", { assets: { jwt: upload } })).toMatchObject({ status: 401 });

    const completion = (await send(upload, [page])).result?.jwt;
    const elsewhere = await api.deploy("other", { assets: { jwt: completion } });
    expect(elsewhere.errors[0]?.message).toMatch(/for the worker 'site', not for 'other'/);
    const stolen = await api.deploy("site", { assets: { jwt: completion } }, "theirs");
    expect(stolen).toMatchObject({ success: false, errors: [{ code: 10_305 }] });
    api.clock.advanceMs(LIMITS.assetSessionMs - 1_000);
    expect(await api.deploy("site", { assets: { jwt: completion } })).toMatchObject({
      status: 200,
    });
    api.clock.advanceMs(1_000);
    const late = await api.deploy("site", { assets: { jwt: completion } });
    expect(late.errors[0]?.message).toMatch(/token expired/);
  });
});
