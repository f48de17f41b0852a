import { blake3 } from "hash-wasm";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startAtoll, EVERYDAY_RELEASES, type Answer, type TestAtoll } from "../support/atoll.ts";
import { createProject } from "../support/project.ts";
import { accountPath, refused, refusedByWrangler } from "../support/refusal.ts";
import { serveEverywhere } from "../support/serving.ts";
import { sendForm } from "../support/upload.ts";

// The site that every refused upload below would have replaced.
const SITE = "site";
const PAGE = "<h1>kept</h1>\n";
const MIB = 1024 * 1024;

let atoll: TestAtoll;
beforeAll(async () => {
  atoll = await startAtoll();
  const { jwt, buckets } = await startSession(await manifestOf({ "/index.html": PAGE }));
  expect(buckets).toHaveLength(1);
  const uploaded = await sendFiles(jwt, { [buckets[0]?.[0] ?? ""]: PAGE });
  const deployed = await deploy({ jwt: resultOf(uploaded).jwt });
  expect(deployed.status, deployed.body).toBe(200);
  await serveEverywhere(atoll, SITE, ({ body }) => body === PAGE);
});
afterAll(() => atoll.stop());

type Manifest = Readonly<Record<string, { readonly hash: string; readonly size: number }>>;

/** wrangler's hash of a file. */
async function hashOf(content: string, path: string): Promise<string> {
  const extension = path.split(".").at(-1) ?? "";
  return (await blake3(Buffer.from(content).toString("base64") + extension)).slice(0, 32);
}

async function manifestOf(files: Readonly<Record<string, string>>): Promise<Manifest> {
  const rows = Object.entries(files).map(async ([path, content]) => [
    path,
    { hash: await hashOf(content, path), size: Buffer.byteLength(content) },
  ]);
  return Object.fromEntries(await Promise.all(rows)) as Manifest;
}

function announce(manifest: unknown, worker = SITE): Promise<Answer> {
  return atoll.api(accountPath(atoll, `/workers/scripts/${worker}/assets-upload-session`), {
    method: "POST",
    body: JSON.stringify({ manifest }),
  });
}

async function startSession(
  manifest: Manifest,
  worker = SITE,
): Promise<{ readonly jwt: string; readonly buckets: ReadonlyArray<ReadonlyArray<string>> }> {
  return resultOf(await announce(manifest, worker));
}

function resultOf(answer: Answer): { jwt: string; buckets: string[][] } {
  expect(answer.status, answer.body).toBeLessThan(300);
  return (JSON.parse(answer.body) as { result: { jwt: string; buckets: string[][] } }).result;
}

/** Uploads a bucket of files by hash, as wrangler does. */
function sendFiles(
  token: string,
  files: Readonly<Record<string, string | Uint8Array>>,
  query = "?base64=true",
): Promise<Answer> {
  const form = new FormData();
  for (const [hash, content] of Object.entries(files)) {
    const text = Buffer.from(content).toString("base64");
    form.append(hash, new File([text], hash, { type: "text/html; charset=utf-8" }));
  }
  const encoded = new Response(form);
  return encoded.arrayBuffer().then((body) =>
    atoll.api(accountPath(atoll, `/workers/assets/upload${query}`), {
      method: "POST",
      headers: {
        authorization: `Bearer ${token}`,
        "content-type": encoded.headers.get("content-type") ?? "",
      },
      body: new Uint8Array(body),
    }),
  );
}

/** Deploys the site with these assets. */
function deploy(assets: unknown, worker = SITE): Promise<Answer> {
  const form = new FormData();
  form.set("metadata", JSON.stringify({ compatibility_date: "2026-06-01", assets }));
  return sendForm(atoll, { path: `/workers/scripts/${worker}`, method: "PUT", form });
}

async function expectKept(): Promise<void> {
  expect((await atoll.get("iad", `${SITE}.localhost`, "/")).body).toBe(PAGE);
}

const HASH = "0123456789abcdef0123456789abcdef";

test.each<readonly [string, unknown, RegExp]>([
  ["is missing", undefined, /manifest: .*expected (record|object)/],
  ["is a list", [], /manifest: .*expected (record|object)/],
  ["has a file without a hash", { "/a": { size: 1 } }, /manifest\.\/a\.hash/],
  ["has a short hash", { "/a": { hash: "abc", size: 1 } }, /32 lower-case hexadecimal/],
  ["has a hash in capitals", { "/a": { hash: HASH.toUpperCase(), size: 1 } }, /32 lower-case/],
  ["has a negative size", { "/a": { hash: HASH, size: -1 } }, /\/a\.size/],
  ["has half a byte", { "/a": { hash: HASH, size: 0.5 } }, /\/a\.size/],
  ["has a path without a slash", { a: { hash: HASH, size: 1 } }, /manifest\.a: /],
  ["leads out of its folder", { "/../a": { hash: HASH, size: 1 } }, /no empty name, '\.' or/],
  ["leads out from within", { "/a/../../b": { hash: HASH, size: 1 } }, /no empty name/],
  ["has an empty name in a path", { "/a//b": { hash: HASH, size: 1 } }, /no empty name/],
  ["has a NUL in a path", { "/a\0b": { hash: HASH, size: 1 } }, /\/a\ufffdb: .*control char/],
  ["has half a character", { "/\ud800": { hash: HASH, size: 1 } }, /valid Unicode/],
  [
    "has a path of 1,025 bytes",
    { [`/${"a/".repeat(512)}`]: { hash: HASH, size: 1 } },
    /1024 bytes/,
  ],
  ["has a name of 256 bytes", { [`/${"é".repeat(128)}`]: { hash: HASH, size: 1 } }, /255 bytes/],
  ["has folders 65 deep", { ["/a".repeat(65)]: { hash: HASH, size: 1 } }, /most 64 names/],
  [
    "has a file that is also a folder",
    { "/a": { hash: HASH, size: 1 }, "/a/b": { hash: HASH, size: 1 } },
    /'\/a' is a file and the folder of '\/a\/b'/,
  ],
  [
    "has over 20,000 files",
    Object.fromEntries(
      Array.from({ length: 20_001 }, (_, index) => [`/${index}`, { hash: HASH, size: 1 }]),
    ),
    /more than 20000 assets/,
  ],
])("a manifest that %s is refused", async (_, manifest, message) => {
  const refusal = await refused(atoll, () => announce(manifest));
  expect(refusal).toMatchObject({ status: 400, code: 10_001 });
  expect(refusal.message).toMatch(message);
});

test("an asset over 25 MiB is refused when it is announced, and when it was not", async () => {
  const announced = await refused(atoll, () =>
    announce({ "/film.mp4": { hash: HASH, size: 25 * MIB + 1 } }),
  );
  expect(announced).toMatchObject({ status: 400, code: 10_304 });
  expect(announced.message).toContain("'/film.mp4' has 26214401 bytes, over the limit of 26214400");

  const { jwt } = await startSession({ "/film.mp4": { hash: HASH, size: 1_000 } });
  const larger = await refused(atoll, () => sendFiles(jwt, { [HASH]: new Uint8Array(26 * MIB) }));
  expect(larger).toMatchObject({ status: 400, code: 10_304 });
  expect(larger.message).toContain("announced with 1000 bytes but has 27262976");
  const huge = await refused(atoll, () => sendFiles(jwt, { [HASH]: new Uint8Array(31 * MIB) }));
  expect(huge).toMatchObject({ status: 413, code: 10_027 });
});

test("an asset of exactly 25 MiB may be announced", async () => {
  const answer = await announce({ "/film.mp4": { hash: HASH, size: 25 * MIB } });
  expect(answer.status, answer.body).toBe(200);
});

test("content that does not have its hash is refused, and the upload stays incomplete", async () => {
  const good = "<p>good</p>";
  const manifest = await manifestOf({ "/new.html": good });
  const hash = manifest["/new.html"]?.hash ?? "";
  const { jwt, buckets } = await startSession(manifest);
  expect(buckets).toEqual([[hash]]);
  const refusal = await refused(atoll, () => sendFiles(jwt, { [hash]: "<p>evil</p>" }));
  expect(refusal).toMatchObject({ status: 400, code: 10_304 });
  const actual = await hashOf("<p>evil</p>", "/new.html");
  expect(refusal.message).toContain(`'/new.html' hashes to ${actual}`);
  expect(refusal.message).toContain(`announced as ${hash}`);

  const incomplete = await refused(atoll, () => deploy({ jwt }));
  expect(incomplete).toMatchObject({ status: 401, code: 10_305 });
  expect(incomplete.message).toContain("not the completion token");
  // Another session still lacks the file: nothing was stored under the hash.
  expect((await startSession(manifest)).buckets).toEqual([[hash]]);
  expect(resultOf(await sendFiles(jwt, { [hash]: good })).jwt).toBeDefined();
  await expectKept();
});

test("files that nobody announced, by no hash, or not in base64, are refused", async () => {
  const { jwt } = await startSession(await manifestOf({ "/other.html": "other" }));
  const unannounced = await refused(atoll, () => sendFiles(jwt, { [HASH]: "x" }));
  expect(unannounced).toMatchObject({ status: 400, code: 10_304 });
  expect(unannounced.message).toContain(`${HASH} was not announced`);
  const unnamed = await refused(atoll, () => sendFiles(jwt, { "../../etc/passwd": "x" }));
  expect(unnamed).toMatchObject({ status: 400, code: 10_304 });
  expect(unnamed.message).toContain("'../../etc/passwd' is not named by an asset's hash");
  const plain = await refused(atoll, () => sendFiles(jwt, { [HASH]: "x" }, ""));
  expect(plain.message).toContain("base64=true");
  const garbage = await refused(atoll, () =>
    atoll.api(accountPath(atoll, "/workers/assets/upload?base64=true"), {
      method: "POST",
      headers: {
        authorization: `Bearer ${jwt}`,
        "content-type": "multipart/form-data; boundary=edge",
      },
      body: "--edge\r\nnonsense",
    }),
  );
  expect(garbage).toMatchObject({ status: 400, code: 10_001 });
});

test("no token but the upload's own lets files in or stands for them", async () => {
  const files = { "/token.html": "token" };
  const manifest = await manifestOf(files);
  const hash = manifest["/token.html"]?.hash ?? "";
  const { jwt } = await startSession(manifest);
  const [header = "", payload = "", signature = ""] = jwt.split(".");
  const unsigned = Buffer.from('{"alg":"none","typ":"JWT"}').toString("base64url");
  const claims = JSON.parse(Buffer.from(payload, "base64url").toString()) as object;
  const promoted = Buffer.from(JSON.stringify({ ...claims, kind: "completion" }));
  const forged = [
    "",
    "nonsense",
    atoll.variables["CLOUDFLARE_API_TOKEN"] ?? "",
    `${header}.${payload}.`,
    `${unsigned}.${payload}.`,
    `${header}.${promoted.toString("base64url")}.${signature}`,
    `${jwt}.more`,
  ];
  for (const token of forged) {
    const upload = await refused(atoll, () => sendFiles(token, { [hash]: files["/token.html"] }));
    expect(upload, token).toMatchObject({ status: 401, code: 10_305 });
    const standIn = await refused(atoll, () => deploy({ jwt: token }));
    expect(standIn, token).toMatchObject({ status: 401, code: 10_305 });
  }
  await expectKept();
});

test("a completed upload is of one worker", async () => {
  const { jwt } = await startSession(await manifestOf({ "/index.html": PAGE }), "another");
  const refusal = await refused(atoll, () => deploy({ jwt }));
  expect(refusal).toMatchObject({ status: 401, code: 10_305 });
  expect(refusal.message).toContain("for the worker 'another', not for 'site'");
});

test.each<readonly [string, Readonly<Record<string, unknown>>, RegExp]>([
  ["html_handling", { html_handling: "guess" }, /html_handling: .*"auto-trailing-slash"/],
  ["not_found_handling", { not_found_handling: "500" }, /not_found_handling: .*"404-page"/],
  ["run_worker_first", { run_worker_first: "yes" }, /run_worker_first/],
  ["_headers", { _headers: "x".repeat(MIB + 1) }, /_headers: longer than 1048576 bytes/],
  ["_redirects", { _redirects: "x".repeat(MIB + 1) }, /_redirects: longer than 1048576 bytes/],
])("a configuration of assets is refused: %s", async (_, config, message) => {
  const { jwt } = await startSession(await manifestOf({ "/index.html": PAGE }));
  const refusal = await refused(atoll, () => deploy({ jwt, config }));
  expect(refusal).toMatchObject({ status: 400, code: 10_002 });
  expect(refusal.message).toMatch(message);
  await expectKept();
});

test("wrangler shows which asset is too large", async () => {
  await Promise.all(
    EVERYDAY_RELEASES.map(async (release) => {
      const project = await createProject({
        "public/index.html": "<h1>changed</h1>",
        "public/film.mp4": new Uint8Array(25 * MIB + 1),
        "wrangler.json": JSON.stringify({
          name: SITE,
          compatibility_date: "2026-06-01",
          assets: { directory: "public" },
        }),
      });
      const output = await refusedByWrangler(atoll, () =>
        atoll.wrangler(project.directory, ["deploy"], { release }),
      );
      expect(output, release).toContain("film.mp4");
      expect(output, release).toContain("25 MiB");
      await project.remove();
    }),
  );
  await expectKept();
});
