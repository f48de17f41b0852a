import { afterAll, beforeAll, expect, test } from "vitest";
import { startAtoll, type TestAtoll } from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { upload } from "../support/upload.ts";

interface CellRow {
  readonly workers: ReadonlyArray<string>;
  readonly state: string;
}

const NAMES = ["one", "two", "three"];
// More than a cell may keep with a grant of 64 MB, and less than with one of 128, all that workerd itself
// may take included.
const SOURCE = `const kept = [];
  export default { fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/keep") for (let i = 0; i < 400; i += 1) kept.push(new Uint8Array(1e6).fill(1));
    return new Response("fine");
  } };`;

let atoll: TestAtoll;
beforeAll(async () => {
  atoll = await startAtoll();
  for (const name of NAMES) {
    const answer = await upload(atoll, { name, source: SOURCE });
    expect(answer.status, answer.body).toBe(200);
  }
}, 120_000);
afterAll(() => atoll.stop());

/** The cells of a region that run and serve any of the test's workers. */
async function warmCells(region: string): Promise<ReadonlyArray<ReadonlyArray<string>>> {
  const { output } = await atoll.atoll(["status", "--json"]);
  const { nodes } = JSON.parse(output) as {
    nodes: ReadonlyArray<{ name: string; cells: ReadonlyArray<CellRow> }>;
  };
  return (nodes.find(({ name }) => name === region)?.cells ?? [])
    .filter(
      ({ state, workers }) => state === "warm" && workers.some((each) => NAMES.includes(each)),
    )
    .map(({ workers }) => workers);
}

async function ask(name: string, path = "/"): Promise<string> {
  const { status, headers, body } = await atoll.get("fra", `${name}.localhost`, path);
  return status === 200 ? body : String(headers["x-atoll-error"]);
}

test("account settings: a deployed worker is warm before its first request", async () => {
  const isWarm = async (): Promise<boolean> =>
    (await warmCells("nrt")).some(([name]) => name === "three");
  await eventually(isWarm, { what: "three is warm in nrt" });
}, 60_000);

test("account settings: what the operator sets reaches the nodes", async () => {
  const account = atoll.variables["CLOUDFLARE_ACCOUNT_ID"] ?? "";
  for (const name of NAMES) expect(await ask(name)).toBe("fine");
  expect(await ask("one", "/keep")).toBe("fine");
  const set = await atoll.atoll(["account", "set", account, "--cells", "shared", "--memory", "64"]);
  expect(set).toMatchObject({ exitCode: 0, output: expect.stringContaining("memory 64 MB") });
  await eventually(
    async () => {
      for (const name of NAMES) if ((await ask(name)) !== "fine") return false;
      const cells = await warmCells("fra");
      return cells.length === 1 && NAMES.every((name) => cells[0]?.includes(name));
    },
    { what: "one cell serves all" },
  );
  expect(await ask("one", "/keep")).toBe("memory_exceeded");
  expect((await atoll.atoll(["account", "list"])).output).toMatch(/shared.*64 MB/);
}, 120_000);
