import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { BlobHash, WorkerName, type Binding } from "@atoll/control-plane/contract";
import { afterAll, beforeAll, expect, test } from "vitest";
import { SampleCells } from "../cells/sample-cell.ts";
import { sampleModule, sampleWorker, type SampleWorker } from "./sample-version.ts";

const MANIFEST = BlobHash.parse("a".repeat(64));

let cells: SampleCells;
beforeAll(async () => {
  cells = await SampleCells.open();
});
afterAll(() => cells.close());

async function site(name: string, files: Readonly<Record<string, string>>): Promise<string> {
  const directory = join(cells.directory, name);
  await mkdir(directory, { recursive: true });
  for (const [file, content] of Object.entries(files)) {
    await writeFile(join(directory, file), content);
  }
  return directory;
}

test("config: an assets-only version answers as its options say", async () => {
  const siteDirectory = await site("only", {
    "index.html": "home",
    "about.html": "about",
    "404.html": "not here",
  });
  const worker = sampleWorker({
    siteDirectory,
    assets: {
      manifest: MANIFEST,
      htmlHandling: "auto-trailing-slash",
      notFoundHandling: "404-page",
      headers: `/about\n  X-Note: "quoted" \\ text\n`,
      redirects: "/old /about 301\n",
    },
  });
  const ask = await cells.start([worker]);
  expect(await ask(0)).toMatchObject({ status: 200, body: "home" });
  expect(await ask(0, { path: "/about" })).toMatchObject({
    body: "about",
    headers: { "x-note": `"quoted" \\ text` },
  });
  expect(await ask(0, { path: "/none" })).toMatchObject({ status: 404, body: "not here" });
  const moved = await ask(0, { path: "/old" });
  expect(moved).toMatchObject({ status: 301, headers: { location: "/about" } });
  const etag = String((await ask(0)).headers["etag"]);
  const again = await ask(0, { headers: { "if-none-match": etag } });
  expect(again.status).toBe(304);
});

test("config: code and files share a host, and other workers reach both", async () => {
  const siteDirectory = await site("mixed", { "page.html": "page", "api.txt": "file" });
  const owner = sampleModule(
    `import { WorkerEntrypoint } from "cloudflare:workers";
     export class Named extends WorkerEntrypoint { who() { return "named"; } }
     export default { async fetch(request, env) {
       const file = await env.FILES.fetch("http://any/page");
       return new Response("code " + new URL(request.url).pathname + " " + await file.text());
     } };`,
    {
      name: "owner",
      siteDirectory,
      assets: { manifest: MANIFEST, runWorkerFirst: ["/api*"] },
      bindings: [{ type: "assets", name: "FILES" }],
    },
  );
  const caller = sampleModule(
    `export default { async fetch(request, env) {
       const answer = await env.OWNER.fetch(request);
       return new Response(await answer.text() + " " + await env.NAMED.who());
     } };`,
    {
      name: "caller",
      bindings: [
        { type: "service", name: "OWNER", service: WorkerName.parse("owner") },
        { type: "service", name: "NAMED", service: WorkerName.parse("owner"), entrypoint: "Named" },
      ],
    },
  );
  const ask = await cells.start([owner, caller]);
  expect((await ask(0, { path: "/page" })).body).toBe("page");
  expect((await ask(0, { path: "/api.txt" })).body).toBe("code /api.txt page");
  expect((await ask(0, { path: "/else" })).body).toBe("code /else page");
  expect((await ask(1, { path: "/page" })).body).toBe("page named");
});

test("config: props reach code that has static files in front of it, whichever version it is", async () => {
  const siteDirectory = await site("props", { "file.txt": "file" });
  const source = (label: string) => `import { WorkerEntrypoint } from "cloudflare:workers";
    export default class extends WorkerEntrypoint {
      who() { return "${label} " + this.ctx.props.who; }
      fetch() { return new Response(this.who()); }
    }`;
  const assets = { manifest: MANIFEST };
  const owner = sampleModule(source("owner"), { name: "owner", siteDirectory, assets });
  const [one, two] = ["one", "two"].map((label) =>
    sampleModule(source(label), { name: "split", siteDirectory, assets }),
  );
  const split = { ...one, other: { member: two, share: 500_000 } } as SampleWorker;
  const bindings = ["owner", "split"].flatMap((name) =>
    ["a", "b"].map((who): Binding => {
      const service = WorkerName.parse(name);
      return { type: "service", name: `${name}_${who}`, service, props: { who } };
    }),
  );
  const caller = sampleModule(
    `export default { async fetch(request, env) {
      const asked = async (service, path) => (await service.fetch("http://any" + path)).text();
      const { owner_a, owner_b, split_a, split_b } = env;
      const both = async (call) => [await call(), await call()].toSorted();
      return Response.json([
        await asked(owner_a, "/file.txt"), await asked(owner_a, "/else"), await owner_b.who(),
        await both(() => asked(split_a, "/else")), await both(() => split_b.who()),
      ]); } };`,
    { name: "caller", bindings },
  );
  const ask = await cells.start([owner, split, caller]);
  expect(JSON.parse((await ask(2)).body)).toEqual([
    ...["file", "owner a", "owner b"],
    ...[
      ["one a", "two a"],
      ["one b", "two b"],
    ],
  ]);
});

test("config: rules of Pages say which paths are the code's, and files answer all others", async () => {
  const files = { "index.html": "home", "404.html": "not here", "file.txt": "file" };
  const siteDirectory = await site("gated", files);
  const worker = sampleModule(
    `export default { async fetch(request, { FILES }) {
       const { pathname } = new URL(request.url);
       if (pathname.endsWith("home")) return FILES.fetch("http://any/");
       return new Response("code " + pathname + " " + request.method);
     } };`,
    {
      siteDirectory,
      assets: {
        manifest: MANIFEST,
        notFoundHandling: "404-page",
        routes: {
          include: ["/api/*", "/one", "/a.b*", "/file*"],
          exclude: ["/file.*", "/api/no/*"],
        },
      },
      bindings: [{ type: "assets", name: "FILES" }],
    },
  );
  const ask = await cells.start([worker]);
  const bodies = async (paths: ReadonlyArray<string>): Promise<unknown> =>
    Promise.all(paths.map(async (path) => (await ask(0, { path })).body));
  expect(
    await bodies(["/api", "/api/", "/api/x/y?z", "/one", "/one/", "/a.bc", "/api/home"]),
  ).toEqual(
    ["/api", "/api/", "/api/x/y", "/one", "/one/", "/a.bc"]
      .map((path) => `code ${path} GET`)
      .concat("home"),
  );
  expect(await bodies(["/", "/file.txt", "/api/no", "/apix", "/one/two", "/axbc"])).toEqual([
    "home",
    "file",
    ...["not here", "not here", "not here", "not here"],
  ]);
});
