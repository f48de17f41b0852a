import { afterEach, beforeEach, describe, expect, test } from "vitest";
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
