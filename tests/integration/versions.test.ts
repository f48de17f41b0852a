import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  REGIONS,
  EVERYDAY_RELEASES,
  startAtoll,
  type CommandResult,
  type TestAtoll,
} from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { createProject, type TestProject } from "../support/project.ts";
import { accountPath } from "../support/refusal.ts";

const KEY_HEADER = "cloudflare-workers-version-key";
const OVERRIDES_HEADER = "cloudflare-workers-version-overrides";
const VERSION_ID = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/;

let atoll: TestAtoll;
beforeAll(async () => {
  atoll = await startAtoll();
});
afterAll(() => atoll.stop());

/** What a version of the test's worker tells of itself. */
interface Told {
  readonly text: string;
  readonly secret: string | null;
  readonly version: { readonly id: string; readonly tag: string; readonly timestamp: string };
}

function sourceOf(text: string): string {
  return `export default { fetch: (request, env) => Response.json({
    text: ${JSON.stringify(text)}, secret: env.API_KEY ?? null, version: env.META,
  }) };`;
}

describe.each(EVERYDAY_RELEASES)("wrangler %s", (release) => {
  const name = `versions-${release.replace(".", "")}`;
  const host = `${name}.localhost`;
  let project: TestProject;
  beforeAll(async () => {
    project = await createProject({
      "index.js": sourceOf("first"),
      "wrangler.json": JSON.stringify({
        name,
        main: "index.js",
        compatibility_date: "2026-06-01",
        version_metadata: { binding: "META" },
      }),
    });
  });
  afterAll(() => project.remove());

  /** Runs wrangler; fails with what it wrote when it does. */
  async function wrangler(line: string, input?: string): Promise<CommandResult> {
    const words = line.split(" ");
    const result = await atoll.wrangler(project.directory, words, {
      release,
      ...(input === undefined ? {} : { input }),
    });
    expect(result.exitCode, result.output).toBe(0);
    return result;
  }

  async function uploadVersion(text: string, flags = ""): Promise<string> {
    await project.write("index.js", sourceOf(text));
    const { output } = await wrangler(`versions upload${flags}`);
    return idIn(output, /Worker Version ID: (\S+)/);
  }

  async function ask(
    headers: Readonly<Record<string, string>> = {},
    region: (typeof REGIONS)[number] = "fra",
  ): Promise<Told & { readonly cookie: string | undefined }> {
    const answer = await atoll.get(region, host, "/", { headers });
    expect(answer.status, answer.body).toBe(200);
    const cookie = [answer.headers["set-cookie"] ?? []].flat()[0]?.split(";")[0];
    return { ...(JSON.parse(answer.body) as Told), cookie };
  }

  async function sharesOf(count: number): Promise<Readonly<Record<string, number>>> {
    const shares: Record<string, number> = {};
    for (let turn = 0; turn < count; turn += 1) {
      const { text } = await ask({}, REGIONS[turn % REGIONS.length]);
      shares[text] = (shares[text] ?? 0) + 1;
    }
    return shares;
  }

  let first: string;
  let second: string;

  test("uploads a version that serves nobody, lists and shows it", async () => {
    const deployed = await wrangler("deploy --tag v1 --message one");
    first = idIn(deployed.output, /Current Version ID: (\S+)/);
    expect(await ask()).toMatchObject({ text: "first", version: { id: first, tag: "v1" } });
    second = await uploadVersion("second", " --tag v2 --message two");
    expect((await ask()).text).toBe("first");
    const listed = (await wrangler("versions list")).output;
    for (const word of [first, second, "v2", "two"]) expect(listed).toContain(word);
    const shown = (await wrangler(`versions view ${second}`)).output;
    for (const word of [second, "v2", "two", "META"]) expect(shown).toContain(word);
    const status = (await wrangler("deployments status")).output;
    expect(status).toContain(first);
    expect(status).not.toContain(second);
  });

  test("deploys two versions with percentages, and clients stay where they are", async () => {
    await wrangler(`versions deploy ${first}@90 ${second}@10 -y --message gradually`);
    const status = (await wrangler("deployments status")).output;
    for (const word of [first, second, "90%", "10%", "gradually"]) expect(status).toContain(word);
    expect((await wrangler("deployments list")).output).toContain("gradually");
    const { first: most = 0, second: few = 0 } = await sharesOf(300);
    expect(most + few).toBe(300);
    expect(Math.abs(few - 30)).toBeLessThanOrEqual(3);

    const sticky = new Set<string>();
    for (let client = 0; client < 30; client += 1) {
      const headers = { [KEY_HEADER]: `client-${client}` };
      const texts = new Set<string>();
      // Also at another node: keys mean the same everywhere.
      for (const region of REGIONS) texts.add((await ask(headers, region)).text);
      expect(texts.size).toBe(1);
      for (const text of texts) sticky.add(text);
      const { text, cookie = "" } = await ask();
      expect(cookie).not.toBe("");
      for (const region of REGIONS) {
        const again = await ask({ cookie }, region);
        expect([again.text, again.cookie]).toEqual([text, undefined]);
      }
    }
    expect([...sticky].sort()).toEqual(["first", "second"]);
  });

  test("lets a deployed version be asked for, also one that gets nothing else", async () => {
    await wrangler(`versions deploy ${first}@100 ${second}@0 -y`);
    expect(await sharesOf(30)).toEqual({ first: 30 });
    for (const region of REGIONS) {
      const told = await ask({ [OVERRIDES_HEADER]: `${name}="${second}"` }, region);
      expect(told).toMatchObject({ text: "second", version: { id: second, tag: "v2" } });
    }
    const other = await ask({ [OVERRIDES_HEADER]: `other="${second}"` });
    expect(other.text).toBe("first");
  });

  test("both versions of a split are warm, and stay so as shares change", async () => {
    await wrangler(`versions deploy ${first}@50 ${second}@50 -y`);
    const cells = async (): Promise<ReadonlyArray<string>> => {
      const status = JSON.parse((await atoll.atoll(["status", "--json"])).output) as {
        nodes: ReadonlyArray<{
          name: string;
          cells: ReadonlyArray<{ workers: ReadonlyArray<string>; version: string; pid: number }>;
        }>;
      };
      const all = status.nodes.find((node) => node.name === "fra")?.cells ?? [];
      const own = all.filter(({ workers }) => workers.includes(name));
      return own.map(({ version, pid }) => `${version} ${pid}`).toSorted();
    };
    const before = await cells();
    expect(before.map((cell) => cell.split(" ")[0])).toEqual([first, second].toSorted());
    await wrangler(`versions deploy ${first}@5 ${second}@95 -y`);
    expect(await cells()).toEqual(before);
    const answers = await Promise.all(
      [first, second].map((id) =>
        atoll.get("fra", host, "/", { headers: { [OVERRIDES_HEADER]: `${name}="${id}"` } }),
      ),
    );
    for (const { headers } of answers) expect(headers["x-atoll-cold"]).toBeUndefined();
  });

  test("promotes and rolls back", async () => {
    await wrangler(`versions deploy ${second}@100 -y`);
    expect(await sharesOf(9)).toEqual({ second: 9 });
    expect((await ask()).cookie).toBeUndefined();
    await wrangler(`rollback ${first} --message back -y`);
    expect(await sharesOf(9)).toEqual({ first: 9 });
    const status = (await wrangler("deployments status")).output;
    for (const word of [first, "back"]) expect(status).toContain(word);
  });

  test("changes secrets of a new version without deploying it", async () => {
    const put = await wrangler("versions secret put API_KEY --message keyed --tag v3", "hush");
    const keyed = idIn(put.output, VERSION_ID);
    expect((await ask()).secret).toBeNull();
    await wrangler(`versions deploy ${keyed}@100 -y`);
    // The newest version was the second one, so that is what the secret came to.
    expect(await ask()).toMatchObject({
      text: "second",
      secret: "hush",
      version: { id: keyed, tag: "v3" },
    });
    const listed = (await wrangler("versions secret list")).output;
    expect(listed).toContain("API_KEY");
    expect(listed).not.toContain("hush");

    await project.write("secrets.json", JSON.stringify({ API_KEY: "louder", OTHER: "x" }));
    const bulk = idIn((await wrangler("versions secret bulk secrets.json")).output, VERSION_ID);
    expect((await ask()).secret).toBe("hush");
    await wrangler(`versions deploy ${keyed}@50 ${bulk}@50 -y`);
    const secrets = new Set<string | null>();
    for (const id of [keyed, bulk]) {
      secrets.add((await ask({ [OVERRIDES_HEADER]: `${name}="${id}"` })).secret);
    }
    expect(secrets).toEqual(new Set(["hush", "louder"]));
    const removed = await wrangler("versions secret delete API_KEY");
    await wrangler(`versions deploy ${idIn(removed.output, VERSION_ID)}@100 -y`);
    expect((await ask()).secret).toBeNull();
    expect((await wrangler("versions secret list")).output).toContain("OTHER");
  });

  test("shows a version that is not deployed at a host of its own, and at its alias", async () => {
    await project.write("index.js", sourceOf("previewed"));
    const { output } = await wrangler("versions upload --preview-alias next-one");
    const previewed = idIn(output, /Worker Version ID: (\S+)/);
    const label = previewed.slice(0, 8);
    expect(output).toContain(`${label}-${host}`);
    expect(output).toContain(`next-one-${host}`);
    expect((await ask()).text).toBe("second");
    const look = async (region: (typeof REGIONS)[number], at: string): Promise<Told> => {
      const answer = await atoll.get(region, `${at}-${host}`, "/");
      expect(answer.status, answer.body).toBe(200);
      return JSON.parse(answer.body) as Told;
    };
    for (const region of REGIONS) {
      for (const at of [label, "next-one"]) {
        expect(await look(region, at)).toMatchObject({
          text: "previewed",
          version: { id: previewed },
        });
      }
      // Any version has one, whether it served before, serves now, or never did.
      expect((await look(region, first.slice(0, 8))).text).toBe("first");
    }
    const moved = await uploadVersion("moved", " --preview-alias next-one");
    for (const region of REGIONS) {
      await eventually(async () => (await look(region, "next-one")).version.id === moved, {
        what: `the alias leads to the newest version in ${region}`,
      });
      expect((await look(region, label)).text).toBe("previewed");
      const none = await atoll.get(region, `ffffffff-${host}`, "/");
      expect([none.status, none.headers["x-atoll-error"]]).toEqual([404, "preview_unknown"]);
    }
  });

  test("says why a split is refused, and nothing changes", async () => {
    const path = accountPath(atoll, `/workers/scripts/${name}/deployments`);
    const before = (await atoll.api(path)).body;
    const unknown = "00000000-0000-4000-8000-000000000000";
    const lines = [
      `versions deploy ${first}@60 ${second}@60 -y`,
      `versions deploy ${first}@50 ${unknown}@50 -y`,
    ];
    for (const line of lines) {
      const { exitCode, output } = await atoll.wrangler(project.directory, line.split(" "), {
        release,
      });
      expect(exitCode, output).not.toBe(0);
      expect(output).toContain("ERROR");
    }
    expect((await atoll.api(path)).body).toBe(before);
  });
});

/** What a pattern's first group, or all of it, finds in wrangler's output. */
function idIn(output: string, pattern: RegExp): string {
  const found = pattern.exec(output);
  const text = found?.[1] ?? found?.[0];
  if (text === undefined) throw new Error(`no version in: ${output}`);
  return text;
}
