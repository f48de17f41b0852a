import { afterAll, beforeAll, expect, test } from "vitest";
import { EVERYDAY_RELEASES, startAtoll, type TestAtoll } from "../support/atoll.ts";
import { createProject } from "../support/project.ts";
import { accountPath, refused, refusedByWrangler, type Refusal } from "../support/refusal.ts";
import { serveEverywhere } from "../support/serving.ts";
import { upload } from "../support/upload.ts";

const KEPT = "kept";
const NEVER = "never";
const ABSENT_NAMESPACE = "0123456789abcdef0123456789abcdef";
const SOURCE = "export default { fetch: (request, env) => new Response(env.TEXT) };";

let atoll: TestAtoll;
beforeAll(async () => {
  atoll = await startAtoll();
  const bindings = [
    { type: "plain_text", name: "TEXT", text: KEPT },
    { type: "secret_text", name: "SECRET", text: "hush" },
  ];
  const answer = await upload(atoll, { name: KEPT, source: SOURCE, metadata: { bindings } });
  expect(answer.status, answer.body).toBe(200);
  await serveEverywhere(atoll, KEPT, ({ body }) => body === KEPT);
});
afterAll(() => atoll.stop());

/** Uploads with these further metadata, as a new worker and over an existing one. */
async function refusedMetadata(metadata: Readonly<Record<string, unknown>>): Promise<Refusal> {
  const attempt = (name: string) =>
    refused(atoll, () => upload(atoll, { name, source: SOURCE, metadata }));
  const refusal = await attempt(NEVER);
  expect(await attempt(KEPT)).toEqual(refusal);
  expect((await atoll.get("fra", `${KEPT}.localhost`, "/")).body).toBe(KEPT);
  return refusal;
}

/** Every type that wrangler can upload and Atoll does not have yet. */
const UNSUPPORTED_TYPES = [
  ...["agent_memory", "ai", "ai_search", "ai_search_namespace", "analytics_engine", "artifacts"],
  ...["browser", "d1", "dispatch_namespace", "durable_object_namespace", "flagship", "hyperdrive"],
  ...["images", "k2", "logfwdr", "media", "mtls_certificate", "pipelines", "queue", "r2_bucket"],
  ...["ratelimit", "secret_key", "secrets_store_secret", "send_email", "stream"],
  ...["unsafe_hello_world", "vectorize", "vpc_network", "vpc_service", "worker_loader", "workflow"],
  ...["of-tomorrow", "constructor", "__proto__"],
];

test.each(UNSUPPORTED_TYPES)("a binding of the type %s is named and refused", async (type) => {
  const text = { type: "plain_text", name: "TEXT", text: "changed" };
  const refusal = await refusedMetadata({ bindings: [text, { type, name: "THING" }] });
  expect(refusal).toMatchObject({ status: 400, code: 10_023 });
  expect(refusal.message).toContain(`'THING' of type '${type}'`);
  expect(refusal.message).not.toContain("TEXT");
});

test("every unsupported binding is named, not only the first", async () => {
  const { message } = await refusedMetadata({
    bindings: [
      { type: "d1", name: "DB", id: "x" },
      { type: "queue", name: "JOBS", queue_name: "jobs" },
    ],
  });
  expect(message).toContain("'DB' of type 'd1', 'JOBS' of type 'queue'");
});

test.each([
  ["migrations", { new_tag: "v1", steps: [] }, /Durable Object migrations/],
  ["containers", [{ class_name: "A" }], /containers/],
  ["exports", { A: { type: "durable-object", storage: "sqlite" } }, /declared exports/],
  ["streaming_tail_consumers", [{ service: KEPT }], /streaming tail consumers/],
  ["capnp_schema", "schema", /Cap'n Proto/],
])("a feature that is not there yet is named and refused: %s", async (key, value, words) => {
  const refusal = await refusedMetadata({ [key]: value });
  expect(refusal).toMatchObject({ status: 400, code: 10_023 });
  expect(refusal.message).toMatch(words);
  expect(refusal.message).toContain(`metadata.${key}`);
});

test.each([
  ["without a name", { type: "plain_text", text: "" }, /binding '' of type 'plain_text': name/],
  ["with an empty name", { type: "plain_text", name: "", text: "" }, /'plain_text': name/],
  [
    "with a name of 256 characters",
    { type: "plain_text", name: "a".repeat(256), text: "" },
    /name: .*255/,
  ],
  ["with a line break", { type: "plain_text", name: "A\nB", text: "" }, /control characters/],
  ["named __proto__", { type: "plain_text", name: "__proto__", text: "" }, /'__proto__' cannot/],
  ["without its text", { type: "plain_text", name: "A" }, /binding 'A' .*text: /],
  ["with a number as text", { type: "secret_text", name: "A", text: 1 }, /'A' .*expected string/],
  [
    "with over 5 KiB of text",
    { type: "plain_text", name: "A", text: "é".repeat(2_561) },
    /'A' .*text: longer than 5120 bytes/,
  ],
  [
    "with over 5 KiB of secret",
    { type: "secret_text", name: "A", text: "x".repeat(5_121) },
    /'A' .*text: longer than 5120 bytes/,
  ],
  [
    "with JSON over 1 MiB",
    { type: "json", name: "A", json: "x".repeat(1024 * 1024) },
    /'A' .*json: longer than 1048576/,
  ],
  [
    "with an unknown field",
    { type: "kv_namespace", name: "A", namespace_id: ABSENT_NAMESPACE, jurisdiction: "eu" },
    /'A' of type 'kv_namespace': .*jurisdiction/,
  ],
  [
    "of an environment of a service",
    { type: "service", name: "A", service: KEPT, environment: "staging" },
    /'A' of type 'service': environment: .*production/,
  ],
  ["to assets of none", { type: "assets", name: "A" }, /binding 'A' is for assets, .* has none/],
  [
    "of the other format",
    { type: "wasm_module", name: "A", part: "a" },
    /'A' is for the service-worker format/,
  ],
  ["that is a word", "TEXT", /a binding needs a type and a name/],
])("a binding %s is refused", async (_, binding, message) => {
  const refusal = await refusedMetadata({ bindings: [binding] });
  expect(refusal).toMatchObject({ status: 400, code: 10_021 });
  expect(refusal.message).toMatch(message);
});

test("two bindings of one name, and over 1,000 bindings, are refused", async () => {
  const text = { type: "plain_text", name: "A", text: "" };
  const twice = await refusedMetadata({ bindings: [text, { ...text, text: "b" }] });
  expect(twice).toMatchObject({ code: 10_021, message: "Two bindings are named 'A'" });
  const many = Array.from({ length: 1_001 }, (_, index) => ({ ...text, name: `A${index}` }));
  expect((await refusedMetadata({ bindings: many })).message).toMatch(/bindings: .*1000/);
});

test.each([
  ["that was never made", ABSENT_NAMESPACE],
  ["that is no id", "guestbook"],
  ["with a way out", "../../secrets"],
])("a binding to a KV namespace %s is refused", async (_, id) => {
  const bindings = [{ type: "kv_namespace", name: "STORE", namespace_id: id }];
  const refusal = await refusedMetadata({ bindings });
  expect(refusal.status).toBe(404);
  expect(refusal.code).toBe(10_041);
  expect(refusal.message).toContain(`'${id}' of the binding 'STORE' does not exist`);
});

test.each(["nobody", "Not A Name"])(
  "a binding to the service %s, which is not there, is refused",
  async (service) => {
    const bindings = [{ type: "service", name: "OTHER", service }];
    const refusal = await refusedMetadata({ bindings });
    expect(refusal.code).toBe(10_143);
    expect(refusal.message).toMatch(`'OTHER': the worker '${service}' does not exist`);
  },
);

test.each([
  ["nobody", [{ service: "nobody" }], 10_144, /tail consumer 'nobody' does not exist/],
  ["no name", [{ service: "Not A Name" }], 10_002, /tail_consumers/],
  ["too many", Array.from({ length: 11 }, () => ({ service: KEPT })), 10_002, /tail_consumers/],
])("a tail consumer that is %s is refused", async (_, consumers, code, message) => {
  const refusal = await refusedMetadata({ tail_consumers: consumers });
  expect(refusal).toMatchObject({ status: 400, code });
  expect(refusal.message).toMatch(message);
});

test("a worker that would hear what happens to itself is refused", async () => {
  const metadata = { tail_consumers: [{ service: KEPT }] };
  const refusal = await refused(atoll, () =>
    upload(atoll, { name: KEPT, source: SOURCE, metadata }),
  );
  expect(refusal).toMatchObject({ status: 400, code: 10_144 });
  expect(refusal.message).toContain("would hear what happens to itself");
});

test("to inherit what is not there is refused in the words that wrangler looks for", async () => {
  const refusal = await refusedMetadata({ bindings: [{ type: "inherit", name: "GONE" }] });
  expect(refusal).toMatchObject({ status: 400, code: 10_057 });
  expect(refusal.message).toMatch(/^inherit binding 'GONE' is invalid/);
});

test("secrets with bad names or values, and of no worker, are refused", async () => {
  const put = (name: string, secret: unknown) =>
    refused(atoll, () =>
      atoll.api(accountPath(atoll, `/workers/scripts/${name}/secrets`), {
        method: "PUT",
        body: JSON.stringify(secret),
      }),
    );
  const secret = { name: "KEY", text: "value", type: "secret_text" };
  expect(await put(NEVER, secret)).toMatchObject({ status: 404, code: 10_007 });
  expect((await put(KEPT, { ...secret, text: "x".repeat(5_121) })).message).toMatch(/5120 bytes/);
  expect((await put(KEPT, { ...secret, name: "" })).message).toMatch(/name/);
  expect((await put(KEPT, { ...secret, name: "__proto__" })).message).toContain("__proto__");
  expect((await put(KEPT, { ...secret, name: "TEXT" })).code).toBe(10_053);
  expect((await put(KEPT, { ...secret, type: "secret_key" })).status).toBe(400);
  const gone = await refused(atoll, () =>
    atoll.api(accountPath(atoll, `/workers/scripts/${KEPT}/secrets/GONE`), { method: "DELETE" }),
  );
  expect(gone).toMatchObject({ status: 404, code: 10_056 });
  expect(gone.message).toContain("GONE");
});

test.each([
  [
    "bindings that Atoll does not have",
    {
      ai: { binding: "AI" },
      browser: { binding: "BROWSER" },
      d1_databases: [{ binding: "DB", database_name: "db", database_id: ABSENT_NAMESPACE }],
    },
    ["'AI' of type 'ai'", "'BROWSER' of type 'browser'", "'DB' of type 'd1'", "10023"],
  ],
  [
    "a bucket, which wrangler would make",
    { r2_buckets: [{ binding: "FILES", bucket_name: "files" }] },
    ["Atoll does not support R2 buckets yet", "10023"],
  ],
  [
    "a queue, which wrangler would make",
    { queues: { producers: [{ binding: "JOBS", queue: "jobs" }] } },
    ["Atoll does not support queues yet", "10023"],
  ],
  [
    "a namespace that does not exist",
    { kv_namespaces: [{ binding: "STORE", id: ABSENT_NAMESPACE }] },
    [`'${ABSENT_NAMESPACE}' of the binding 'STORE' does not exist`, "10041"],
  ],
  [
    "a service that does not exist",
    { services: [{ binding: "OTHER", service: "nobody" }] },
    ["'OTHER': the worker 'nobody' does not exist", "10143"],
  ],
])("wrangler shows why it was refused: %s", async (_, config, says) => {
  await Promise.all(
    EVERYDAY_RELEASES.map(async (release) => {
      const settings = { name: KEPT, main: "index.js", compatibility_date: "2026-06-01" };
      const project = await createProject({
        "index.js": SOURCE,
        "wrangler.json": JSON.stringify({ ...settings, ...config }),
      });
      const output = await refusedByWrangler(atoll, () =>
        atoll.wrangler(project.directory, ["deploy"], { release }),
      );
      for (const text of says) expect(output, release).toContain(text);
      await project.remove();
    }),
  );
  expect((await atoll.get("nrt", `${KEPT}.localhost`, "/")).body).toBe(KEPT);
});
