import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { EVERYDAY_RELEASES, startAtoll, type TestAtoll } from "../support/atoll.ts";
import { createProject } from "../support/project.ts";
import { accountPath, refused, refusedByWrangler, type Refusal } from "../support/refusal.ts";
import { serveEverywhere } from "../support/serving.ts";
import { sendForm, upload } from "../support/upload.ts";

// What every refused upload below would have replaced, and the name that it must not have created.
const KEPT = "kept";
const NEVER = "never";
const MIB = 1024 * 1024;
const MODULE = "application/javascript+module";
const SOURCE = 'export default { fetch: () => new Response("changed") };';
const METADATA = { main_module: "index.js", compatibility_date: "2026-06-01" };

let atoll: TestAtoll;
beforeAll(async () => {
  atoll = await startAtoll();
  const source = `export default { fetch: () => new Response("${KEPT}") };`;
  const metadata = { bindings: [{ type: "plain_text", name: "TEXT", text: "kept" }] };
  expect((await upload(atoll, { name: KEPT, source, metadata })).status).toBe(200);
  await serveEverywhere(atoll, KEPT, ({ body }) => body === KEPT);
});
afterAll(() => atoll.stop());

type File = readonly [name: string, content: string | Uint8Array<ArrayBuffer>, type: string];
interface RawBody {
  readonly type: string;
  readonly body: string;
}

const MAIN: File = ["index.js", SOURCE, MODULE];

function form(metadata: unknown, files: ReadonlyArray<File> = [MAIN]): FormData {
  const result = new FormData();
  if (metadata !== undefined) {
    result.set("metadata", typeof metadata === "string" ? metadata : JSON.stringify(metadata));
  }
  for (const [name, content, type] of files) {
    result.append(name, new Blob([content], { type }), name);
  }
  return result;
}

function withMetadata(extra: Readonly<Record<string, unknown>>): FormData {
  return form({ ...METADATA, ...extra });
}

function withSource(source: string): FormData {
  return form(METADATA, [["index.js", source, MODULE]]);
}

function multipart(body: string): RawBody {
  return { type: "multipart/form-data; boundary=edge", body: body.replaceAll("\n", "\r\n") };
}

/** Sends it as a new worker, over an existing one, and as a version that would not serve yet. */
async function refusedEverywhere(sent: FormData | RawBody): Promise<Refusal> {
  const send = (method: string, path: string) =>
    refused(atoll, () =>
      sent instanceof FormData
        ? sendForm(atoll, { path, method, form: sent })
        : atoll.api(accountPath(atoll, path), {
            method,
            headers: { "content-type": sent.type },
            body: sent.body,
          }),
    );
  const refusal = await send("PUT", `/workers/scripts/${NEVER}`);
  expect(await send("PUT", `/workers/scripts/${KEPT}`)).toEqual(refusal);
  expect(await send("POST", `/workers/scripts/${KEPT}/versions`)).toEqual(refusal);
  const service = await atoll.api(accountPath(atoll, `/workers/services/${NEVER}`));
  expect(service.status).toBe(404);
  expect(service.body).toContain("10090");
  expect((await atoll.get("iad", `${NEVER}.localhost`, "/")).status).toBe(404);
  expect((await atoll.get("iad", `${KEPT}.localhost`, "/")).body).toBe(KEPT);
  return refusal;
}

type Row = readonly [
  title: string,
  sent: FormData | RawBody,
  expected: { readonly status?: number; readonly code: number; readonly message: RegExp },
];

const FORMS: ReadonlyArray<Row> = [
  [
    "a body that is no multipart",
    multipart("hello"),
    { code: 10_001, message: /not well-formed multipart/ },
  ],
  [
    "no boundary",
    { type: "multipart/form-data", body: "--edge--" },
    { code: 10_001, message: /not well-formed multipart/ },
  ],
  [
    "another content type",
    { type: "application/json", body: JSON.stringify(METADATA) },
    { code: 10_001, message: /not well-formed multipart/ },
  ],
  [
    "a body that ends early",
    multipart(
      `--edge\nContent-Disposition: form-data; name="metadata"\n\n${JSON.stringify(METADATA)}`,
    ),
    { code: 10_001, message: /ended early/ },
  ],
  [
    "a part without a name",
    multipart('--edge\nContent-Disposition: form-data; filename="a.js"\n\nx\n--edge--\n'),
    { code: 10_001, message: /not well-formed multipart/ },
  ],
  ["no metadata", form(undefined), { code: 10_002, message: /0 'metadata' parts, not one/ }],
  ["metadata that is not JSON", form("{main"), { code: 10_002, message: /metadata is not JSON/ }],
  ["metadata that is a list", form([]), { code: 10_002, message: /metadata: .*expected object/ }],
  [
    "a field of another type",
    withMetadata({ main_module: 5 }),
    { code: 10_002, message: /main_module: .*expected string, received number/ },
  ],
  [
    "metadata over 4 MiB",
    withMetadata({ padding: "x".repeat(4 * MIB) }),
    { code: 10_002, message: /metadata has 4194\d+ bytes, over the limit of 4194304/ },
  ],
];

const MODULES: ReadonlyArray<Row> = [
  [
    "a module named by nothing",
    form(METADATA, [["", SOURCE, MODULE]]),
    { code: 10_021, message: /module of the upload has no name/ },
  ],
  [
    "no main module",
    form({ compatibility_date: "2026-06-01" }),
    { code: 10_021, message: /no main module: .*main_module.*body_part/ },
  ],
  [
    "a main module that is not there",
    withMetadata({ main_module: "other.js" }),
    { code: 10_021, message: /main module 'other\.js' is not among/ },
  ],
  [
    "a main module that is text",
    form(METADATA, [["index.js", SOURCE, "text/plain"]]),
    { code: 10_021, message: /main module 'index\.js' must be an ES module .* it is text/ },
  ],
  [
    "two modules of one name",
    form(METADATA, [MAIN, MAIN]),
    { code: 10_021, message: /two modules named 'index\.js'/ },
  ],
  [
    "a module of no known type",
    form(METADATA, [MAIN, ["./a.png", "x", "image/png"]]),
    { code: 10_021, message: /'\.\/a\.png' has the content type 'image\/png'/ },
  ],
  [
    "a module in Python",
    form(METADATA, [MAIN, ["a.py", "x", "text/x-python"]]),
    { code: 10_023, message: /does not support Python modules yet .*'a\.py'/ },
  ],
  ["nothing", form({}, []), { code: 10_021, message: /neither modules nor assets/ }],
  [
    "both formats",
    withMetadata({ body_part: "index.js" }),
    { code: 10_002, message: /both main_module and body_part/ },
  ],
  [
    "an upload over 64 MiB",
    form(METADATA, [MAIN, ["big.bin", new Uint8Array(65 * MIB), "application/octet-stream"]]),
    { status: 413, code: 10_027, message: /limit of 67108864 bytes \(64 MiB\)/ },
  ],
];

const STARTS: ReadonlyArray<Row> = [
  [
    "a syntax error",
    withSource("export default {"),
    { code: 10_021, message: /SyntaxError: Unexpected end of input\n {2}at index\.js:1:16/ },
  ],
  [
    "a throw at the top level",
    withSource('const a = 1;\nthrow new Error("boom"); export default {}'),
    { code: 10_021, message: /Error: boom\n {2}at index\.js:2:\d+/ },
  ],
  [
    "an unknown import",
    withSource(`import "./nowhere.js"; ${SOURCE}`),
    { code: 10_021, message: /No such module "nowhere\.js"/ },
  ],
  [
    "no handler",
    withSource("export function a() {}"),
    { code: 10_021, message: /no default export/i },
  ],
  [
    "wasm that is none",
    form(METADATA, [
      ["index.js", `import a from "./a.wasm"; ${SOURCE}`, MODULE],
      ["./a.wasm", "not wasm", "application/wasm"],
    ]),
    { code: 10_021, message: /CompileError: .*expected magic word/ },
  ],
  [
    "JSON that is none",
    form(METADATA, [
      ["index.js", `import a from "./a.json"; ${SOURCE}`, MODULE],
      ["./a.json", "{nope", "application/json"],
    ]),
    { code: 10_021, message: /SyntaxError: .*JSON/ },
  ],
  [
    "a wait that never ends",
    withSource(`await new Promise(() => {}); ${SOURCE}`),
    { code: 10_021, message: /Top-level await in module is unsettled/ },
  ],
];

const DATES: ReadonlyArray<Row> = [
  ["a word", "yesterday", /'yesterday' is not a date of the form YYYY-MM-DD/],
  ["no day of the calendar", "2026-02-30", /'2026-02-30' is not a date/],
  ["the future", "2999-01-01", /'2999-01-01' is in the future: today is \d{4}/],
  ["before there were any", "2020-01-01", /'2020-01-01' is before 2021-11-02/],
].map(([title, date, message]): Row => [
  `a compatibility date: ${title as string}`,
  withMetadata({ compatibility_date: date }),
  { code: 10_021, message: message as RegExp },
]);

const FLAGS: ReadonlyArray<Row> = [
  [
    "an unknown flag",
    withMetadata({ compatibility_flags: ["no_such_flag"] }),
    { code: 10_021, message: /No such compatibility flag: no_such_flag/ },
  ],
  [
    "a flag that is none",
    withMetadata({ compatibility_flags: ['")); inject'] }),
    { code: 10_021, message: /compatibility flag '"\)\); inject' is not of the form/ },
  ],
];

describe.each([
  ["the form", FORMS],
  ["the modules", MODULES],
  ["the start", STARTS],
  ["compatibility", [...DATES, ...FLAGS]],
])("an upload is refused for %s", (_, rows) => {
  test.each(rows)("%s", async (_, sent, { status = 400, code, message }) => {
    const refusal = await refusedEverywhere(sent);
    expect(refusal).toMatchObject({ status, code });
    expect(refusal.message).toMatch(message);
  });
});

test("an upload whose length is not announced is cut off past 64 MiB", async () => {
  let pieces = 0;
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (; pieces < 80; pieces += 1) yield new Uint8Array(MIB);
  }
  const refusal = await refused(atoll, async () => {
    const url = `${atoll.url}/client/v4${accountPath(atoll, `/workers/scripts/${NEVER}`)}`;
    const response = await fetch(url, {
      method: "PUT",
      headers: {
        authorization: `Bearer ${atoll.variables["CLOUDFLARE_API_TOKEN"]}`,
        "content-type": "multipart/form-data; boundary=edge",
      },
      body: ReadableStream.from(endless()),
      duplex: "half",
    });
    return { status: response.status, headers: {}, body: await response.text() };
  });
  expect(refusal).toMatchObject({ status: 413, code: 10_027 });
  expect(pieces).toBeLessThan(80);
});

test("a script whose top-level code never ends is refused in time, while others are served", async () => {
  const source = `for (;;) {} ${SOURCE}`;
  const pending = refused(atoll, () => upload(atoll, { name: NEVER, source }));
  expect((await atoll.get("iad", `${KEPT}.localhost`, "/")).body).toBe(KEPT);
  const refusal = await pending;
  expect(refusal.code).toBe(10_021);
  expect(refusal.message).toMatch(/startup exceeded CPU time limit/);
});

test.each([
  ["64 characters", "a".repeat(64)],
  ["an upper-case letter", "Kept"],
  ["a dot", "a.b"],
  ["a slash", "a/b"],
  ["a dash first", "-a"],
  ["a dash last", "a-"],
  ["a blank", "a b"],
  ["an emoji", "😀"],
])("a worker's name is refused: %s", async (_, name) => {
  const path = `/workers/scripts/${encodeURIComponent(name)}`;
  const refusal = await refused(atoll, () =>
    sendForm(atoll, { path, method: "PUT", form: form(METADATA) }),
  );
  expect(refusal).toMatchObject({ status: 400, code: 10_016 });
  expect(refusal.message).toContain(`'${name}' cannot be the name of a worker`);
  expect(refusal.message).toContain("1 to 63 characters of a-z, 0-9");
});

test("a version of a worker that does not exist, and a deployment of a version that does not", async () => {
  const missing = await refused(atoll, () =>
    sendForm(atoll, {
      path: `/workers/scripts/${NEVER}/versions`,
      method: "POST",
      form: form(METADATA),
    }),
  );
  expect(missing).toMatchObject({ status: 404, code: 10_007 });
  expect(missing.message).toContain(`'${NEVER}'`);

  const id = "00000000-0000-4000-8000-000000000000";
  const deploy = (body: unknown) =>
    refused(atoll, () =>
      atoll.api(accountPath(atoll, `/workers/scripts/${KEPT}/deployments`), {
        method: "POST",
        body: typeof body === "string" ? body : JSON.stringify(body),
      }),
    );
  const unknown = await deploy({
    strategy: "percentage",
    versions: [{ version_id: id, percentage: 100 }],
  });
  expect(unknown.status).toBe(404);
  expect(unknown.message).toContain(id);
  for (const versions of [[], [{ version_id: id, percentage: 50 }], [{ version_id: 1 }], "all"]) {
    expect((await deploy({ strategy: "percentage", versions })).status).toBe(400);
  }
  expect((await deploy("{")).message).toContain("not JSON");
});

describe("wrangler shows why it was refused", () => {
  interface Case {
    readonly config: Readonly<Record<string, unknown>>;
    readonly files?: Readonly<Record<string, string | Uint8Array>>;
    readonly says: ReadonlyArray<string>;
  }
  const CASES: Readonly<Record<string, Case>> = {
    "an upload over 64 MiB": {
      config: { rules: [{ type: "Data", globs: ["**/*.bin"] }] },
      files: {
        "big.bin": new Uint8Array(65 * MIB),
        "index.js": 'import a from "./big.bin"; export default { fetch: () => new Response(a) };',
      },
      says: ["64 MiB", "10027"],
    },
    "a date that is none": {
      config: { compatibility_date: "2026-02-30" },
      says: ["'2026-02-30' is not a date of the form YYYY-MM-DD", "10021"],
    },
    "a flag that is none": {
      config: { compatibility_flags: ["no_such_flag"] },
      says: ["No such compatibility flag: no_such_flag", "10021"],
    },
    "a name of 64 characters": {
      config: { name: "a".repeat(64) },
      says: [`'${"a".repeat(64)}' cannot be the name of a worker`, "1 to 63 characters", "10016"],
    },
  };

  test.each(Object.entries(CASES))("%s", async (_, { config, files, says }) => {
    await Promise.all(
      EVERYDAY_RELEASES.map(async (release) => {
        const settings = { name: NEVER, main: "index.js", compatibility_date: "2026-06-01" };
        const project = await createProject({
          "index.js": SOURCE,
          "wrangler.json": JSON.stringify({ ...settings, ...config }),
          ...files,
        });
        const output = await refusedByWrangler(atoll, () =>
          atoll.wrangler(project.directory, ["deploy"], { release }),
        );
        for (const text of says) expect(output, release).toContain(text);
        await project.remove();
      }),
    );
  });
});
