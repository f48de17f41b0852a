import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  EVERYDAY_RELEASES,
  IS_THOROUGH,
  startAtoll,
  type Answer,
  type CommandResult,
  type TestAtoll,
} from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { copyFixture, createProject, type TestProject } from "../support/project.ts";
import { accountPath, refusedByWrangler } from "../support/refusal.ts";

let atoll: TestAtoll;
const projects: TestProject[] = [];
beforeAll(async () => {
  atoll = await startAtoll();
});
afterAll(async () => {
  await atoll.stop();
  await Promise.all(projects.map((project) => project.remove()));
});

const MIB = 1024 * 1024;

interface Listed {
  readonly name: string;
  readonly expiration?: number;
  readonly metadata?: unknown;
}

interface Namespace {
  readonly id: string;
  readonly title: string;
}

function nowSeconds(): number {
  return Math.floor(Date.now() / 1_000);
}

/** Keys of a namespace as the API tells them. */
async function keysOf(namespace: string): Promise<ReadonlyArray<Listed>> {
  const answer = await atoll.api(accountPath(atoll, `/storage/kv/namespaces/${namespace}/keys`));
  return (JSON.parse(answer.body) as { result: ReadonlyArray<Listed> }).result;
}

describe.each(EVERYDAY_RELEASES)("wrangler %s", (release) => {
  const short = release.replace(".", "");
  let project: TestProject;
  let namespace: string;

  const wrangler = (...commandArguments: string[]): Promise<CommandResult> =>
    atoll.wrangler(project.directory, commandArguments, { release });
  const succeed = async (...commandArguments: string[]): Promise<string> => {
    const { exitCode, output } = await wrangler(...commandArguments);
    expect(exitCode, output).toBe(0);
    return output;
  };
  const key = (command: string, ...commandArguments: string[]): string[] => [
    ...["kv", "key", command, ...commandArguments],
    ...["--namespace-id", namespace, "--remote"],
  ];
  const bulk = (command: string, file: string): string[] => [
    ...["kv", "bulk", command, file],
    ...["--namespace-id", namespace, "--remote"],
  ];
  const namespaces = async (): Promise<ReadonlyArray<Namespace>> =>
    JSON.parse(await succeed("kv", "namespace", "list")) as ReadonlyArray<Namespace>;
  /** By the API: one wrangler less for each title. */
  const idOf = async (title: string): Promise<string> => {
    const path = accountPath(atoll, "/storage/kv/namespaces?per_page=100");
    const { result } = JSON.parse((await atoll.api(path)).body) as {
      readonly result: ReadonlyArray<Namespace>;
    };
    const found = result.find((candidate) => candidate.title === title);
    if (found === undefined) throw new Error(`no namespace has the title ${title}`);
    return found.id;
  };

  beforeAll(async () => {
    project = await createProject({ "wrangler.jsonc": `{ "name": "tools-${short}" }` });
    projects.push(project);
    await succeed("kv", "namespace", "create", `words-${short}`);
    namespace = await idOf(`words-${short}`);
  });

  test("creates, lists, renames and deletes namespaces", async () => {
    const created = await succeed("kv", "namespace", "create", `first-${short}`);
    const id = await idOf(`first-${short}`);
    expect(created).toContain(id);
    expect(await namespaces()).toContainEqual(expect.objectContaining({ id }));
    const again = await refusedByWrangler(atoll, () =>
      wrangler("kv", "namespace", "create", `first-${short}`),
    );
    expect(again).toContain("already exists");
    await succeed("kv", "namespace", "rename", `first-${short}`, "--new-name", `second-${short}`);
    expect(await idOf(`second-${short}`)).toBe(id);
    expect(await succeed("kv", "namespace", "delete", "--namespace-id", id)).toContain("Deleted");
    expect((await namespaces()).map((row) => row.id)).not.toContain(id);
    const gone = await wrangler("kv", "namespace", "delete", "--namespace-id", id);
    expect(gone).toMatchObject({ exitCode: 1, output: expect.stringContaining("10013") });
  });

  test("puts, gets, lists and deletes keys, with metadata and expiry", async () => {
    const odd = "folder/ünïcödé %2F?#&";
    await succeed(...key("put", odd, "hello wörld"));
    expect(await succeed(...key("get", odd))).toBe("hello wörld");
    const bytes = Buffer.from(Array.from({ length: 200_000 }, (_, index) => index % 251));
    await project.write("large.bin", bytes);
    await succeed(...key("put", "large", "--path", "large.bin", "--metadata", '{"é":[1,null]}'));
    const stored = await atoll.api(
      accountPath(atoll, `/storage/kv/namespaces/${namespace}/values/large`),
    );
    expect(stored.headers["content-length"]).toBe("200000");
    const before = nowSeconds();
    await succeed(...key("put", "short", "v", "--ttl", "300"));
    await succeed(...key("put", "until", "v", "--expiration", String(before + 1_000)));

    const listed = JSON.parse(await succeed(...key("list"))) as ReadonlyArray<Listed>;
    const short = listed.find(({ name }) => name === "short");
    expect(short?.expiration).toBeGreaterThanOrEqual(before + 300);
    expect(short?.expiration).toBeLessThanOrEqual(nowSeconds() + 300);
    expect(listed.filter(({ name }) => name !== "short")).toEqual([
      { name: odd },
      { name: "large", metadata: { é: [1, null] } },
      { name: "until", expiration: before + 1_000 },
    ]);
    const prefixed = JSON.parse(await succeed(...key("list", "--prefix", "folder/"))) as unknown;
    expect(prefixed).toEqual([{ name: odd }]);

    await succeed(...key("delete", odd));
    const missing = await wrangler(...key("get", odd));
    expect(missing).toMatchObject({ exitCode: 1, output: expect.stringContaining("404") });
  });

  test("puts, gets and deletes in bulk, more than a page of keys", async () => {
    const entries = Array.from({ length: 2_100 }, (_, index) => ({
      key: `bulk/${String(index).padStart(4, "0")}`,
      value: `value ${index}`,
    }));
    const bytes = { key: "bulk/bytes", value: "AP/+", base64: true, metadata: { b: 1 } };
    await project.write("put.json", JSON.stringify([...entries, bytes]));
    expect(await succeed(...bulk("put", "put.json"))).toContain("Success");
    const listed = JSON.parse(await succeed(...key("list", "--prefix", "bulk/"))) as Listed[];
    expect(listed.map(({ name }) => name)).toEqual([...entries, bytes].map((entry) => entry.key));
    expect(listed.at(-1)).toEqual({ name: "bulk/bytes", metadata: { b: 1 } });

    await project.write("get.json", JSON.stringify(["bulk/0007", "bulk/none", "bulk/2099"]));
    const read = await succeed(...bulk("get", "get.json"));
    expect(JSON.parse(read.slice(read.indexOf("{"), read.lastIndexOf("}") + 1))).toEqual({
      "bulk/0007": "value 7",
      "bulk/2099": "value 2099",
      "bulk/none": null,
    });

    await project.write("delete.json", JSON.stringify(listed.map(({ name }) => name)));
    await succeed(...bulk("delete", "delete.json"), "--force");
    expect((await keysOf(namespace)).filter(({ name }) => name.startsWith("bulk/"))).toEqual([]);
  });

  test("shows what is wrong with a key, a value, its metadata or expiry, and changes nothing", async () => {
    await project.write("huge.bin", Buffer.alloc(25 * MIB + 1));
    await project.write("wrong.json", '[{"key":"good","value":"v"},{"key":"..","value":"v"}]');
    const metadata = JSON.stringify({ m: "m".repeat(1_017) });
    const before = await keysOf(namespace);
    // One of each way that wrangler sends it. Every rule is tried at the API, at each of its bounds.
    const everyday: ReadonlyArray<readonly [code: number, command: string[]]> = [
      [10_042, key("put", "..", "v")],
      [10_024, key("put", "huge", "--path", "huge.bin")],
      [10_047, key("put", "key", "v", "--metadata", metadata)],
      [10_034, key("put", "key", "v", "--ttl", "59")],
      [10_042, bulk("put", "wrong.json")],
    ];
    const others: typeof everyday = [
      [10_042, key("put", "", "v")],
      [10_042, key("put", ".", "v")],
      [10_042, key("delete", "..")],
      [10_030, key("put", "k".repeat(513), "v")],
      [10_024, key("put", "huge", "--path", "huge.bin", "--metadata", "{}")],
      [10_033, key("put", "key", "v", "--expiration", "5")],
    ];
    for (const [code, command] of IS_THOROUGH ? [...everyday, ...others] : everyday) {
      const { exitCode, output } = await wrangler(...command);
      expect(output).toContain(`[code: ${code}]`);
      expect(exitCode).toBe(1);
    }
    expect(await keysOf(namespace)).toEqual(before);
    expect((await namespaces()).map(({ id }) => id)).toContain(namespace);
  });

  test("refuses to deploy a binding to no namespace, and to delete one that is bound", async () => {
    const bound = await copyFixture("kv");
    projects.push(bound);
    const name = `bound-${short}`;
    await bound.edit("wrangler.jsonc", { from: '"name": "kv"', to: `"name": "${name}"` });
    await bound.edit("wrangler.jsonc", { from: '"NAMESPACE"', to: `"${"0".repeat(32)}"` });
    const deploy = (): Promise<CommandResult> =>
      atoll.wrangler(bound.directory, ["deploy"], { release });
    expect(await refusedByWrangler(atoll, deploy)).toContain("[code: 10041]");

    await succeed("kv", "namespace", "create", name);
    const id = await idOf(name);
    await bound.edit("wrangler.jsonc", { from: "0".repeat(32), to: id });
    const deployed = await deploy();
    expect(deployed.exitCode, deployed.output).toBe(0);
    const refused = await refusedByWrangler(atoll, () =>
      wrangler("kv", "namespace", "delete", "--namespace-id", id),
    );
    expect(refused).toContain("[code: 10052]");
    expect(refused).toContain(name);

    const removed = await atoll.wrangler(bound.directory, ["delete", "--force"], { release });
    expect(removed.exitCode, removed.output).toBe(0);
    await succeed("kv", "namespace", "delete", "--namespace-id", id);
  });

  test("provisions a namespace for a binding without an id, once", async () => {
    const name = `provisioned-${short}`;
    const files = {
      "wrangler.jsonc": JSON.stringify({
        name,
        main: "index.js",
        compatibility_date: "2026-06-01",
        kv_namespaces: [{ binding: "MY_WORDS" }],
      }),
      "index.js": `export default { async fetch(request, env) {
        await env.MY_WORDS.put("key", "value");
        return new Response(await env.MY_WORDS.get("key"));
      } };`,
    };
    const provisioned = await createProject(files);
    projects.push(provisioned);
    for (let deploys = 0; deploys < 2; deploys += 1) {
      const { exitCode, output } = await atoll.wrangler(provisioned.directory, ["deploy"], {
        release,
      });
      expect(exitCode, output).toBe(0);
    }
    await eventually(
      async () => (await atoll.get("fra", `${name}.localhost`, "/")).body === "value",
      { what: `${name} writes and reads` },
    );
    const titles = (await namespaces()).map(({ title }) => title);
    expect(titles.filter((title) => title.startsWith(name))).toEqual([`${name}-my-words`]);
  });

  test("deploys a Workers Sites project: files as keys of a namespace", async () => {
    const name = `sites-${short}`;
    const files = {
      "wrangler.jsonc": JSON.stringify({
        name,
        main: "index.js",
        compatibility_date: "2026-06-01",
        site: { bucket: "public" },
      }),
      "index.js": `import manifest from "__STATIC_CONTENT_MANIFEST";
        export default { async fetch(request, env) {
          const key = JSON.parse(manifest)[new URL(request.url).pathname.slice(1)];
          const file = key && (await env.__STATIC_CONTENT.get(key, "arrayBuffer"));
          return file ? new Response(file) : new Response("none", { status: 404 });
        } };`,
      "public/page.html": "<h1>Words</h1>\n",
      "public/pixel.bin": Buffer.from([0, 255, 254]),
    };
    const site = await createProject(files);
    projects.push(site);
    const deploy = async (): Promise<void> => {
      const { exitCode, output } = await atoll.wrangler(site.directory, ["deploy"], { release });
      expect(exitCode, output).toBe(0);
    };
    const answers = (path: string, isReady: (answer: Answer) => boolean): Promise<unknown> =>
      eventually(async () => isReady(await atoll.get("nrt", `${name}.localhost`, path)), {
        what: `${name}${path} as expected`,
      });
    await deploy();
    await answers("/page.html", ({ body }) => body === "<h1>Words</h1>\n");
    await answers("/pixel.bin", ({ headers }) => headers["content-length"] === "3");
    await site.write("public/page.html", "<h1>Other words</h1>\n");
    await deploy();
    await answers("/page.html", ({ body }) => body === "<h1>Other words</h1>\n");
    // wrangler removes the files that the new deployment no longer has.
    expect(await keysOf(await idOf(`__${name}-workers_sites_assets`))).toHaveLength(2);
  });
});
