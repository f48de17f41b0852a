import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { DEFAULT_ACCOUNT_SETTINGS } from "../contract/index.ts";
import { LIMITS } from "../limits.ts";
import {
  ControlPlaneApi,
  MAIN_MODULE,
  uploadForm,
  type UploadedFileSpec,
} from "../test-support/control-plane-api.ts";

let api: ControlPlaneApi;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
});
afterEach(() => api.close());

const SCRIPT = "A/workers/scripts/hello";

describe("uploads: ", () => {
  test("a first deploy makes the worker, its version and its deployment at one revision", async () => {
    const { status, result } = await api.deploy("hello", {
      bindings: [{ type: "plain_text", name: "GREETING", text: "hi" }],
      annotations: { "workers/message": "first", "workers/tag": "v1" },
    });
    expect(status).toBe(200);
    expect(result).toMatchObject({ id: "hello", startup_time_ms: 7 });
    const { revision, workers } = await api.controlPlane.desiredState.snapshot();
    expect(revision).toBe(1);
    expect(workers).toMatchObject([
      {
        name: "hello",
        routes: ["hello.atoll.test/*"],
        versions: [
          {
            percentage: 100,
            secrets: {},
            version: {
              id: result.deployment_id,
              number: 1,
              tag: "v1",
              compatibilityDate: "2026-04-01",
              bindings: [{ type: "plain_text", name: "GREETING", text: "hi" }],
              code: { kind: "modules", modules: [{ name: "index.js", kind: "esm" }] },
            },
          },
        ],
      },
    ]);
  });

  test("a version is recorded without being deployed, then deployed", async () => {
    const first = await api.deploy("hello");
    const second = await api.call(
      `POST ${SCRIPT}/versions?bindings_inherit=strict`,
      uploadForm({}),
    );
    expect(second.result).toMatchObject({
      number: 2,
      startup_time_ms: 7,
      resources: { script: {} },
    });
    const serving = async () => (await api.call(`GET ${SCRIPT}/deployments`)).result.deployments[0];
    expect((await serving()).versions).toEqual([
      { version_id: first.result.deployment_id, percentage: 100 },
    ]);
    const versions = [{ version_id: second.result.id, percentage: 100 }];
    await api.call(`POST ${SCRIPT}/deployments`, { strategy: "percentage", versions });
    expect((await serving()).versions).toEqual(versions);
    expect((await api.call(`GET ${SCRIPT}/versions`)).result.items).toMatchObject([
      { number: 2 },
      { number: 1 },
    ]);
  });

  test("every kind of module keeps its name, type and content", async () => {
    const files: UploadedFileSpec[] = [
      MAIN_MODULE,
      { name: "./a-note.txt", type: "text/plain", content: "héllo" },
      { name: "sub/t é.bin", type: "application/octet-stream", content: new Uint8Array([0, 255]) },
      { name: "m.wasm", type: "application/wasm", content: new Uint8Array([0, 97, 115, 109]) },
      { name: "data.json", type: "application/json", content: "{}" },
      { name: "lib.cjs", type: "application/javascript", content: "exports.a = 1" },
      { name: "index.js.map", type: "application/source-map", content: "{}" },
    ];
    await api.call(`PUT ${SCRIPT}`, uploadForm({}, files));
    const [worker] = (await api.controlPlane.desiredState.snapshot()).workers;
    expect(worker?.versions[0]?.version.code).toMatchObject({
      modules: [
        { name: "index.js", kind: "esm" },
        { name: "./a-note.txt", kind: "text" },
        { name: "sub/t é.bin", kind: "data", size: 2 },
        { name: "m.wasm", kind: "wasm" },
        { name: "data.json", kind: "json" },
        { name: "lib.cjs", kind: "commonjs" },
      ],
    });
    const content = await api.fetch(`${SCRIPT}/content/v2`);
    expect(content.headers.get("cf-entrypoint")).toBe("index.js");
    const form = await content.formData();
    expect([...form.keys()].sort()).toEqual(files.map(({ name }) => name).sort());
    const note = form.get("./a-note.txt") as File;
    expect({ type: note.type, text: await note.text() }).toEqual({
      type: "text/plain",
      text: "héllo",
    });
  });

  test("the service-worker format brings its files as bindings", async () => {
    const metadata = {
      main_module: undefined,
      body_part: "index.js",
      bindings: [{ type: "text_blob", name: "NOTE", part: "note.txt" }],
    };
    const script = { ...MAIN_MODULE, type: "application/javascript" };
    const note = { name: "note.txt", type: "text/plain", content: "hi" };
    const { status } = await api.call(`PUT ${SCRIPT}`, uploadForm(metadata, [script, note]));
    expect(status).toBe(200);
    const content = await api.fetch(`${SCRIPT}/content/v2`);
    expect(content.headers.get("content-type")).toBe("application/javascript");
    expect(await content.text()).toBe(MAIN_MODULE.content);
    const missing = { ...metadata, bindings: [{ type: "text_blob", name: "NOTE", part: "none" }] };
    const refused = await api.call(`PUT ${SCRIPT}`, uploadForm(missing, [script, note]));
    expect(refused.errors[0]?.message).toContain("'NOTE' names the part 'none'");
  });

  test("the preflight sees the whole version with its secrets and reads its modules", async () => {
    await api.deploy("hello", { bindings: [{ type: "secret_text", name: "KEY", text: "s3cret" }] });
    const [candidate] = api.preflight.candidates;
    expect(candidate?.secrets).toEqual({ KEY: "s3cret" });
    expect(candidate?.settings).toEqual(DEFAULT_ACCOUNT_SETTINGS);
    const { code } = candidate?.version ?? {};
    const blob = code?.kind === "modules" ? code.modules[0]?.blob : undefined;
    const bytes = await candidate?.readBlob(blob ?? "");
    expect(Buffer.from(bytes ?? []).toString()).toBe(MAIN_MODULE.content);
  });

  test("the preflight learns what the account is granted now", async () => {
    await api.controlPlane.accounts.configure(api.tenants.ours.account.id, {
      settings: { memoryMib: 1_024 },
    });
    await api.deploy("hello");
    expect(api.preflight.candidates.at(-1)?.settings.memoryMib).toBe(1_024);
  });

  test("a worker that does not start is refused with its message and leaves no trace", async () => {
    await api.deploy("hello");
    const before = await api.countRows();
    const message = "Uncaught Error: boom\n  at index.js:3:7 in f";
    api.preflight.answer = { kind: "failed", message };
    const refused = await api.deploy("hello", { tags: ["x"] });
    expect(refused).toMatchObject({ status: 400, errors: [{ code: 10_021, message }] });
    expect(await api.countRows()).toEqual(before);
    api.preflight.answer = new Error("no workerd");
    expect(await api.deploy("hello")).toMatchObject({ status: 503, success: false });
    expect(await api.countRows()).toEqual(before);
  });

  test("a worker that is deleted while it is being started is not brought back", async () => {
    await api.deploy("hello");
    api.preflight.meanwhile = () => api.call("DELETE A/workers/services/hello");
    const refused = await api.deploy("hello");
    expect(refused).toMatchObject({ status: 409, success: false });
    expect(refused.errors[0]?.message).toMatch(/was changed meanwhile: try again/);
    expect(await api.countRows()).toMatchObject({ workers: 0, versions: 0 });
  });

  test("concurrent deploys of one worker get numbers without gaps, and the last one serves", async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => api.deploy("hello")));
    expect(answers.every(({ success }) => success)).toBe(true);
    const { items } = (await api.call(`GET ${SCRIPT}/versions`)).result;
    expect(items.map((item: { number: number }) => item.number)).toEqual([8, 7, 6, 5, 4, 3, 2, 1]);
    const [worker] = (await api.controlPlane.desiredState.snapshot()).workers;
    expect(worker?.versions[0]?.version.number).toBe(8);
  });
});

describe("uploads, bad input: ", () => {
  const named = (name: string): UploadedFileSpec => ({ ...MAIN_MODULE, name });
  const doubled = [MAIN_MODULE, MAIN_MODULE];
  const python = { name: "a.py", type: "text/x-python", content: "" };
  const cases: ReadonlyArray<{
    readonly what: string;
    readonly form: () => FormData;
    readonly code: number;
    readonly message: RegExp;
  }> = [
    {
      what: "metadata that is not JSON",
      form: () => withMetadata("{nope"),
      code: 10_002,
      message: /metadata is not JSON/,
    },
    {
      what: "no metadata",
      form: () => withField("metadata", undefined),
      code: 10_002,
      message: /has 0 'metadata' parts/,
    },
    {
      what: "metadata that is a list",
      form: () => withMetadata("[]"),
      code: 10_002,
      message: /metadata/,
    },
    {
      what: "a module without a name",
      form: () => uploadForm({}, [MAIN_MODULE, named("")]),
      code: 10_021,
      message: /no name/,
    },
    {
      what: "two modules of one name",
      form: () => uploadForm({}, doubled),
      code: 10_021,
      message: /two modules named 'index.js'/,
    },
    {
      what: "a main module that is not there",
      form: () => uploadForm({ main_module: "other.js" }),
      code: 10_021,
      message: /main module 'other.js' is not among/,
    },
    {
      what: "modules of which none is the main one",
      form: () => uploadForm({ main_module: undefined }),
      code: 10_021,
      message: /no main module/,
    },
    {
      what: "a main module that is no ES module",
      form: () => uploadForm({}, [{ ...MAIN_MODULE, type: "text/plain" }]),
      code: 10_021,
      message: /must be an ES module/,
    },
    {
      what: "both formats at once",
      form: () => uploadForm({ body_part: "index.js" }),
      code: 10_002,
      message: /both main_module and body_part/,
    },
    {
      what: "neither modules nor assets",
      form: () => uploadForm({}, []),
      code: 10_021,
      message: /neither modules nor assets/,
    },
    {
      what: "a module of unknown type",
      form: () => uploadForm({}, [MAIN_MODULE, { ...named("x"), type: "image/png" }]),
      code: 10_021,
      message: /'x' has the content type 'image\/png'/,
    },
    {
      what: "a Python module",
      form: () => uploadForm({}, [MAIN_MODULE, python]),
      code: 10_023,
      message: /Python modules yet \(module 'a.py'/,
    },
    {
      what: "a part that is no file",
      form: () => withField("x.js", "text"),
      code: 10_021,
      message: /part 'x.js' has no file name/,
    },
    {
      what: "a bad compatibility date",
      form: () => uploadForm({ compatibility_date: "2026-02-30" }),
      code: 10_021,
      message: /'2026-02-30' is not a date/,
    },
    {
      what: "an unknown form of flag",
      form: () => uploadForm({ compatibility_flags: ["no-such"] }),
      code: 10_021,
      message: /flag 'no-such'/,
    },
    {
      what: "Durable Object migrations",
      form: () => uploadForm({ migrations: { new_tag: "v1", steps: [] } }),
      code: 10_023,
      message: /Durable Object migrations yet/,
    },
    {
      what: "a binding of a type that is not there yet",
      form: () => uploadForm({ bindings: [{ type: "d1", name: "DB", id: "x" }] }),
      code: 10_023,
      message: /'DB' of type 'd1'.*Nothing was changed/,
    },
    {
      what: "a namespace that does not exist",
      form: () => bound({ type: "kv_namespace", name: "KV", namespace_id: "0".repeat(32) }),
      code: 10_041,
      message: /KV namespace '0{32}' of the binding 'KV' does not exist/,
    },
    {
      what: "a service that does not exist",
      form: () => bound({ type: "service", name: "S", service: "nobody" }),
      code: 10_143,
      message: /binding 'S': the worker 'nobody' does not exist/,
    },
    {
      what: "an assets binding without assets",
      form: () => bound({ type: "assets", name: "ASSETS" }),
      code: 10_021,
      message: /'ASSETS' is for assets/,
    },
    {
      what: "nothing to inherit",
      form: () => bound({ type: "inherit", name: "GONE" }),
      code: 10_057,
      message: /^inherit binding 'GONE' is invalid/,
    },
    {
      what: "a completion token that is none",
      form: () => uploadForm({ assets: { jwt: "x.y.z" } }),
      code: 10_305,
      message: /not the completion token/,
    },
  ];

  test.each(cases)("$what is refused and changes nothing", async ({ form, code, message }) => {
    await api.deploy("hello");
    const before = await api.countRows();
    for (const line of [`PUT ${SCRIPT}`, `POST ${SCRIPT}/versions`, "PUT A/workers/scripts/new"]) {
      const answer = await api.call(line, form());
      expect(answer).toMatchObject({ success: false, result: null, errors: [{ code }] });
      expect(answer.errors[0]?.message).toMatch(message);
    }
    expect(await api.countRows()).toEqual(before);
  });

  test("a body that is not multipart, or is cut, is refused", async () => {
    const headers = { "content-type": "multipart/form-data; boundary=x" };
    const cut = '--x\r\ncontent-disposition: form-data; name="metadata"\r\n\r\n{}';
    for (const init of [{ body: "{}" }, { body: cut, headers }]) {
      const response = await api.fetch(SCRIPT, { method: "PUT", ...init });
      expect(response.status).toBe(400);
      expect(await response.json()).toMatchObject({ errors: [{ code: 10_001 }] });
    }
  });

  test("an upload over 64 MiB is refused whether or not it tells its length", async () => {
    const size = LIMITS.uploadBytesMax + 1;
    const known = await api.fetch(SCRIPT, { method: "PUT", body: new Uint8Array(size) });
    expect(known.status).toBe(413);
    expect(await known.json()).toMatchObject({ errors: [{ code: 10_027 }] });
    const streamed = await api.fetch(SCRIPT, {
      method: "PUT",
      body: zeros(size),
      duplex: "half",
    });
    expect(streamed.status).toBe(413);
  });

  test("names of workers are bounded at 63 characters and to what a host name allows", async () => {
    expect(await api.deploy("a".repeat(63))).toMatchObject({ success: true });
    for (const name of ["a".repeat(64), "Upper", "-a", "a-", "a.b", "a%2Fb"]) {
      expect(await api.deploy(name)).toMatchObject({ status: 400, errors: [{ code: 10_016 }] });
    }
  });

  test("a name that another account has is refused", async () => {
    await api.deploy("hello", {}, "theirs");
    expect(await api.deploy("hello")).toMatchObject({ status: 409, errors: [{ code: 10_040 }] });
  });

  test("a version of a worker that does not exist is refused with 10007", async () => {
    const { errors } = await api.call(`POST ${SCRIPT}/versions`, uploadForm({}));
    expect(errors[0]?.code).toBe(10_007);
  });
});

function bound(binding: object): FormData {
  return uploadForm({ bindings: [binding] });
}

function withMetadata(text: string): FormData {
  const form = uploadForm({});
  form.set("metadata", text);
  return form;
}

function withField(name: string, value: string | undefined): FormData {
  const form = uploadForm({});
  if (value === undefined) form.delete(name);
  else form.set(name, value);
  return form;
}

/** Sends its length to nobody. */
function zeros(bytes: number): ReadableStream<Uint8Array> {
  const chunk = new Uint8Array(1024 * 1024);
  let sent = 0;
  return new ReadableStream({
    pull: (controller) => {
      if (sent >= bytes) return controller.close();
      controller.enqueue(chunk.subarray(0, Math.min(chunk.length, bytes - sent)));
      sent += chunk.length;
    },
  });
}
