import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { DEFAULT_ACCOUNT_SETTINGS } from "../contract/index.ts";
import {
  ControlPlaneApi,
  MAIN_MODULE,
  uploadForm,
  type UploadedFileSpec,
} from "../test-support/control-plane-api.ts";
import { WorkerStore } from "../workers/store.ts";

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

  test("a name that another account takes while the worker is being started is refused as taken", async () => {
    api.preflight.meanwhile = async () => {
      api.preflight.meanwhile = () => Promise.resolve();
      await api.deploy("hello", {}, "theirs");
    };
    const refused = await api.deploy("hello");
    expect(refused).toMatchObject({ status: 409, success: false });
    expect(refused.errors[0]?.message).toMatch(/'hello' is taken/);
    const { workers } = await api.controlPlane.desiredState.snapshot();
    expect(workers.map(({ account }) => account)).toEqual([api.tenants.theirs.account.id]);
  });

  test("a worker that is removed between two looks at it is made anew", async () => {
    await api.deploy("hello");
    const workers = new WorkerStore();
    const spy = vi.spyOn(WorkerStore.prototype, "find");
    spy.mockImplementationOnce(async (...call) => {
      const found = await workers.find(...call);
      await api.call(`DELETE ${SCRIPT}`);
      return found;
    });
    const deployed = await api.deploy("hello");
    spy.mockRestore();
    expect(deployed).toMatchObject({ status: 200, success: true });
    expect(await api.countRows()).toMatchObject({ workers: 1, versions: 1 });
  });

  test("what is no version's id is no version's", async () => {
    await api.deploy("hello");
    for (const id of ["%00", "none", "latest%00"]) {
      const answer = await api.call(`GET ${SCRIPT}/versions/${id}`);
      expect(answer).toMatchObject({ status: 404, success: false });
    }
  });

  test("a host that another account takes while its worker is being started is not shared", async () => {
    await api.deploy("far", {}, "theirs");
    const routes = [{ pattern: "hello.atoll.test/*" }];
    api.preflight.meanwhile = () => api.call("PUT A/workers/scripts/far/routes", routes, "theirs");
    const refused = await api.deploy("hello");
    expect(refused).toMatchObject({ status: 409, errors: [{ code: 10_020 }] });
    const { workers } = await api.controlPlane.desiredState.snapshot();
    expect(workers.map(({ name }) => name)).toEqual(["far"]);
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
