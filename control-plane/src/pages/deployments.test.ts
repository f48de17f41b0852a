import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { BlobHash, type AssetManifest } from "../contract/index.ts";
import { LIMITS } from "../limits.ts";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";
import { bundleOf, fileOf, manifestOf, PagesSite } from "../test-support/pages-site.ts";
import { assetHashOf } from "../test-support/sent-asset.ts";

let api: ControlPlaneApi;
let site: PagesSite;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
  site = new PagesSite(api, "blog");
  await site.create();
});
afterEach(() => api.close());

const PAGES = { "/index.html": "<h1>hi</h1>", "/sub/a b é.txt": "text" };

/** The version that serves the project's host. */
async function serving() {
  const [worker] = (await api.controlPlane.desiredState.snapshot()).workers;
  return worker?.versions[0]?.version;
}

async function servedManifest(): Promise<AssetManifest> {
  const hash = BlobHash.parse((await serving())?.assets?.manifest);
  const content = (await api.controlPlane.blobs.get(hash)) ?? [];
  return JSON.parse(Buffer.from(content).toString()) as AssetManifest;
}

async function contentNames(): Promise<ReadonlyArray<string>> {
  const { database } = api.controlPlane;
  const rows = await database.selectFrom("asset_contents").select("hash").execute();
  return rows.map(({ hash }) => hash).sort();
}

describe("deployments of pages: ", () => {
  test("files travel once, whether for pages or for workers", async () => {
    const token = await site.token();
    const hashes = Object.values(manifestOf(PAGES));
    expect((await site.missing(token, hashes)).result).toEqual(hashes);
    const files = Object.entries(PAGES).map(([path, content]) => fileOf(path, content));
    expect(await site.upload(token, files)).toMatchObject({ success: true });
    expect((await site.missing(token, hashes)).result).toEqual([]);
    const { result } = await site.deploy(manifestOf(PAGES), { branch: "main", commit_hash: "abc" });
    expect(result).toMatchObject({
      project_name: "blog",
      environment: "production",
      url: `http://${result.id.slice(0, 8)}-blog.atoll.test:4401`,
      aliases: ["http://blog.atoll.test:4401"],
      latest_stage: { name: "deploy", status: "success" },
      deployment_trigger: { metadata: { branch: "main", commit_hash: "abc" } },
    });
    expect(await contentNames()).toEqual([...hashes].sort());
    const type = "text/html; charset=utf-8";
    expect(await servedManifest()).toEqual({
      "/index.html": { blob: expect.any(String), size: 11, contentType: type },
      "/sub/a b é.txt": { blob: expect.any(String), size: 4, contentType: type },
    });
    const session = await api.call("POST A/workers/scripts/other/assets-upload-session", {
      manifest: { "/x.html": { hash: hashes[0], size: 11 } },
    });
    expect(session.result.buckets).toEqual([]);
  });

  test("are of production or of a branch with a host of its own", async () => {
    const main = (await site.publish(PAGES, { branch: "main" })).result;
    const other = { ...PAGES, "/index.html": "next" };
    const next = (await site.publish(other, { branch: "Feature/Übung_1" })).result;
    expect(next).toMatchObject({
      environment: "preview",
      aliases: ["http://feature-bung-1-blog.atoll.test:4401/#.pages.dev"],
    });
    expect((await serving())?.id).toBe(main.id);
    const { account } = api.principal();
    const preview = await api.controlPlane.desiredState.preview({
      ...{ account, label: "feature-bung-1" },
      name: site.name as never,
    });
    expect(preview?.versions[0]?.version.id).toBe(next.id);
    const list = (await api.call(`GET ${site.path}/deployments`)).result as ReadonlyArray<{
      id: string;
    }>;
    expect(list.map(({ id }) => id)).toEqual([next.id, main.id]);
    const previews = (await api.call(`GET ${site.path}/deployments?env=preview`)).result;
    expect(previews).toMatchObject([{ id: next.id }]);
    expect((await api.call(`GET ${site.path}/deployments/${main.id}`)).result).toEqual(main);
    const project = (await api.call(`GET ${site.path}`)).result;
    expect(project.latest_deployment.id).toBe(next.id);
    // Without git wrangler names no branch.
    expect((await site.publish(PAGES)).result).toMatchObject({ environment: "production" });
  });

  test("answer for files as pages does", async () => {
    await site.publish(PAGES, { _redirects: new File(["/a /b 301"], "_redirects") });
    const first = await serving();
    expect(first).toMatchObject({
      code: { kind: "none" },
      bindings: [],
      assets: { notFoundHandling: "single-page-application", redirects: "/a /b 301" },
    });
    expect(first?.assets?.headers).toBe(
      "/*\n  Access-Control-Allow-Origin: *\n  Referrer-Policy: strict-origin-when-cross-origin\n  X-Content-Type-Options: nosniff\n",
    );
    const headers =
      "/*\n  access-control-allow-origin: https://a.example\n/x\n  ! Referrer-Policy\n";
    await site.publish(
      { ...PAGES, "/404.html": "no" },
      { _headers: new File([headers], "_headers") },
    );
    const second = await serving();
    expect(second?.assets).toMatchObject({
      notFoundHandling: "404-page",
      headers: headers.replace("/*\n", "/*\n  X-Content-Type-Options: nosniff\n"),
    });
    await site.publish(PAGES, { branch: "next" });
    expect(api.preflight.candidates.at(-1)?.version.assets?.headers).toContain(
      "X-Robots-Tag: noindex",
    );
  });

  test("with code have files, variables and rules beside it", async () => {
    const bundle = await bundleOf({ compatibility_date: undefined });
    const routes = { version: 1, include: ["/api/*"], exclude: ["/api/no"] };
    await site.publish(PAGES, {
      "_worker.bundle": bundle,
      "_routes.json": new File([JSON.stringify(routes)], "_routes.json"),
      commit_hash: "abc",
    });
    expect(await serving()).toMatchObject({
      code: { kind: "modules", modules: [{ name: "index.js" }] },
      compatibilityDate: "2026-11-17",
      assets: { runWorkerFirst: true, routes: { include: ["/api/*"], exclude: ["/api/no"] } },
      bindings: [
        { type: "assets", name: "ASSETS" },
        { type: "plain_text", name: "CF_PAGES", text: "1" },
        { type: "plain_text", name: "CF_PAGES_BRANCH", text: "main" },
        { type: "plain_text", name: "CF_PAGES_COMMIT_SHA", text: "abc" },
      ],
    });
    const bindings = [{ type: "plain_text", name: "CF_PAGES", text: "mine" }];
    const configured = { compatibility_date: "2026-03-01", bindings };
    await site.deploy({}, { "_worker.bundle": await bundleOf(configured) });
    const version = await serving();
    expect(version).toMatchObject({ compatibilityDate: "2026-03-01" });
    expect(version?.assets).not.toHaveProperty("routes");
    expect(version?.bindings.filter(({ name }) => name === "CF_PAGES")).toEqual(bindings);
  });

  test("are removed, but not the one that serves, nor by accident one that a branch leads to", async () => {
    const first = (await site.publish(PAGES)).result;
    const second = (await site.publish({ ...PAGES, "/n.html": "n" })).result;
    const early = (await site.publish(PAGES, { branch: "next" })).result;
    const late = (await site.publish(PAGES, { branch: "next" })).result;
    const remove = async (id: string, query = ""): Promise<unknown> => {
      const answer = await api.call(`DELETE ${site.path}/deployments/${id}${query}`);
      return answer.errors[0]?.code ?? answer.status;
    };
    expect(await remove(second.id, "?force=true")).toBe(8_000_034);
    expect(await remove(late.id, "?force=false")).toBe(8_000_035);
    expect(await remove(early.id)).toBe(200);
    expect(await remove(late.id, "?force=true")).toBe(200);
    expect(await remove(first.id)).toBe(200);
    expect(await remove(first.id)).toBe(8_000_009);
    expect(await remove("none")).toBe(8_000_009);
    const left = (await api.call(`GET ${site.path}/deployments`)).result;
    expect(left).toMatchObject([{ id: second.id }]);
    const served = (await api.call("GET A/workers/scripts/blog/deployments")).result.deployments;
    const versions = JSON.stringify(served);
    expect(versions).toContain(second.id);
    expect(versions).not.toContain(first.id);
  });

  test("that don't start are refused, and change nothing that anybody sees", async () => {
    const { id } = (await site.publish(PAGES)).result;
    api.preflight.answer = { kind: "failed", message: "Uncaught Error: boom" };
    const refused = await site.deploy({}, { "_worker.bundle": await bundleOf() });
    expect(refused).toMatchObject({ status: 400, errors: [{ code: 10_021 }] });
    expect((await serving())?.id).toBe(id);
    expect((await api.call(`GET ${site.path}/deployments`)).result).toHaveLength(1);
  });
});

describe("bad uploads to pages: ", () => {
  test("a file that is not what it is called is found out, and can be sent again", async () => {
    const { id } = (await site.publish(PAGES)).result;
    const token = await site.token();
    const path = "/lie.html";
    const lie = { ...fileOf(path, "false"), key: assetHashOf(path, "true") };
    expect((await site.upload(token, [lie])).status).toBe(200);
    const manifest = { [path]: lie.key };
    const refused = await site.deploy(manifest);
    expect(refused).toMatchObject({ status: 400, errors: [{ code: 10_304 }] });
    expect(refused.errors[0]?.message).toMatch(/'\/lie.html' hashes to [0-9a-f]{32}, but was/);
    expect((await serving())?.id).toBe(id);
    expect((await site.missing(token, [lie.key])).result).toEqual([lie.key]);
    await site.upload(token, [fileOf(path, "true")]);
    expect((await site.deploy(manifest)).status).toBe(200);
  });

  test("a file of one project is neither another's nor another account's until it is verified", async () => {
    const file = fileOf("/index.html", "shared");
    await site.upload(await site.token(), [file]);
    const second = new PagesSite(api, "second");
    await second.create();
    expect((await second.missing(await second.token(), [file.key])).result).toEqual([file.key]);
    const refused = await second.deploy({ "/index.html": file.key });
    expect(refused.errors[0]?.message).toContain("'/index.html' (");
    expect(refused.errors[0]?.message).toContain("was not uploaded");
    await site.deploy({ "/index.html": file.key });
    expect((await second.deploy({ "/index.html": file.key })).status).toBe(200);
    const theirs = new PagesSite(api, "theirs", "theirs");
    await theirs.create();
    expect((await theirs.deploy({ "/index.html": file.key })).status).toBe(400);
  });

  test("a manifest that is wrong is refused, and changes nothing", async () => {
    const cases: ReadonlyArray<readonly [string, unknown, RegExp]> = [
      ["is missing", "", /manifest is missing, or not JSON/],
      ["is a list", [], /manifest: .*expected record/],
      ["leads out", { "/../x": "a".repeat(32) }, /no empty name, '.' or '..'/],
      ["is relative", { "x.html": "a".repeat(32) }, /begins with '\/'/],
      ["has control characters", { "/a\u0000b": "a".repeat(32) }, /no control characters/],
      ["has no hashes", { "/a": "b" }, /32 lower-case hexadecimal/],
      ["has a file as a folder", { "/a": "a".repeat(32), "/a/b": "b".repeat(32) }, /is a file and/],
      ["names what was not sent", { "/a": "a".repeat(32) }, /'\/a' \(a{32}\) is in the manifest/],
    ];
    const before = await api.countRows();
    for (const [what, manifest, message] of cases) {
      const refused = await site.deploy(manifest);
      expect([what, refused.status]).toEqual([what, 400]);
      expect(refused.errors[0]?.message).toMatch(message);
    }
    expect(await api.countRows()).toEqual(before);
  });

  test("what comes with a manifest and is wrong is refused, and changes nothing", async () => {
    const cases: ReadonlyArray<readonly [Readonly<Record<string, string | File>>, RegExp]> = [
      [{ "_worker.bundle": new File(["x"], "b") }, /no multipart/],
      [{ "_worker.bundle": new File(["--b\r\n"], "b") }, /not well-formed/],
      [{ "_worker.js": new File(["x"], "w") }, /bundle alone/],
      [{ "_routes.json": new File(["{"], "r") }, /_routes.json is missing, or/],
      [
        { "_routes.json": new File(['{"include":["/*"],"exclude":[]}'], "r") },
        /_routes.json: version/,
      ],
      [{ "_routes.json": new File([JSON.stringify(rulesOf(101))], "r") }, /more than 100 rules/],
      [{ branch: "b".repeat(256) }, /branch is longer than 255 characters/],
      [{ commit_hash: "b".repeat(65) }, /commit_hash is longer than 64 characters/],
    ];
    const before = await api.countRows();
    for (const [fields, message] of cases) {
      const refused = await site.deploy({}, fields);
      expect([message, refused.status]).toEqual([message, 400]);
      expect(refused.errors[0]?.message).toMatch(message);
    }
    expect(await api.countRows()).toEqual(before);
  });

  test("over the account's quota is refused, when it is sent and when it is deployed", async () => {
    const { id } = api.tenants.ours.account;
    await site.publish(PAGES);
    await api.controlPlane.accounts.configure(id, { quota: { assetsMax: 1, assetBytesMax: 20 } });
    const token = await site.token();
    const claims = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());
    expect(claims).toMatchObject({ max_file_count_allowed: 1 });
    const files = ["/1.html", "/2.html"].map((path) => fileOf(path, path));
    expect(await site.upload(token, files)).toMatchObject({ status: 413 });
    const large = fileOf("/large.html", "x".repeat(21));
    expect(await site.upload(token, [large])).toMatchObject({ errors: [{ code: 10_027 }] });
    const refused = await site.deploy(manifestOf(PAGES));
    expect(refused).toMatchObject({ status: 413, errors: [{ code: 10_027 }] });
    expect(await site.upload(token, [fileOf("/1.html", "x".repeat(20))])).toMatchObject({
      status: 200,
    });
  });

  test("a bucket that comes again counts once", async () => {
    const { id } = api.tenants.ours.account;
    await api.controlPlane.accounts.configure(id, { quota: { assetsMax: 3, assetBytesMax: 30 } });
    const token = await site.token();
    const files = ["/1.html", "/2.html"].map((path) => fileOf(path, `${path}..`));
    for (let times = 0; times < 3; times += 1) {
      expect((await site.upload(token, files)).status).toBe(200);
    }
    expect((await site.upload(token, [...files, fileOf("/3.html", "3")])).status).toBe(200);
    const more = await site.upload(token, [fileOf("/4.html", "4")]);
    expect(more).toMatchObject({ status: 413, errors: [{ code: 10_027 }] });
  });

  test("files and buckets have their bounds", async () => {
    const token = await site.token();
    const fits = { ...fileOf("/x.bin", ""), value: "A".repeat((LIMITS.assetBytesMax / 3) | 0) };
    expect((await site.upload(token, [fits])).status).toBe(200);
    const file = { ...fits, value: Buffer.alloc(LIMITS.assetBytesMax + 1).toString("base64") };
    const large = await site.upload(token, [file]);
    expect(large.errors[0]?.message).toContain("26214401 bytes, over the limit of 26214400");
    const many = Array.from({ length: LIMITS.pagesUploadFilesMax + 1 }, () => fileOf("/x", ""));
    expect((await site.upload(token, many)).status).toBe(400);
    const hashes = Array.from({ length: LIMITS.assetsMax + 1 }, () => "a".repeat(32));
    expect((await site.missing(token, hashes)).status).toBe(400);
  });

  test("only the upload's own token lets files in, while it lasts", async () => {
    const token = await site.token();
    const [header, payload] = token.split(".");
    const session = await api.call("POST A/workers/scripts/blog/assets-upload-session", {
      manifest: { "/a": { hash: "a".repeat(32), size: 1 } },
    });
    const wrong = [
      "",
      "x",
      `${header}.${payload}.AAAA`,
      session.result.jwt,
      api.tenants.ours.token,
    ];
    for (const each of wrong) {
      for (const answer of [await site.missing(each, []), await site.upload(each, [])]) {
        expect(answer).toMatchObject({ status: 401, errors: [{ code: 8_000_013 }] });
      }
    }
    const form = new FormData();
    const headers = { authorization: `Bearer ${token}` };
    const init = { method: "POST", headers, body: form };
    const crossed = await api.fetch("A/workers/assets/upload?base64=true", init);
    expect(crossed.status).toBe(401);
    api.clock.advanceMs(LIMITS.assetSessionMs + 1_000);
    expect((await site.missing(token, [])).errors[0]?.code).toBe(8_000_013);
  });
});

function rulesOf(count: number): unknown {
  const include = Array.from({ length: count }, (_, index) => `/${index}`);
  return { version: 1, include, exclude: [] };
}
