import { once } from "node:events";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { decodeMessage, UsageBatch } from "@atoll/control-plane/contract";
import { checkedContent } from "@atoll/edge-runtime/checksummed";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { EVERYDAY_INGRESSES, startAtoll, type TestAtoll } from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { accountPath, readStatus } from "../support/refusal.ts";
import { upload } from "../support/upload.ts";

const SOURCE = `export default { async fetch(request, env) {
  const { pathname } = new URL(request.url);
  if (request.headers.get("upgrade") === "websocket") {
    const [client, server] = Object.values(new WebSocketPair());
    server.accept();
    server.addEventListener("message", ({ data }) => server.send(data));
    return new Response(null, { status: 101, webSocket: client });
  }
  if (pathname === "/throw") throw new Error("thrown");
  if (pathname === "/loop") for (;;) {}
  if (pathname === "/bad") return new Response("bad", { status: 500 });
  if (pathname === "/out") {
    const { status } = await fetch("http://127.0.0.1:1/");
    return new Response(String(status));
  }
  if (pathname === "/kv") {
    await env.KV.put("a", "1");
    await env.KV.get("a");
    await env.KV.get("nothing");
    await env.KV.get(["a", "b", "c"]);
    await env.KV.list();
    await env.KV.delete("a");
  }
  return new Response((await request.text()).length + " bytes");
} };`;

/** What is counted to the last one; the rest is measured. */
interface Counted {
  readonly requests: number;
  readonly errors: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly subrequests: number;
  readonly kvReads: number;
  readonly kvWrites: number;
  readonly kvDeletes: number;
  readonly kvLists: number;
}
const NOTHING: Counted = {
  ...{ requests: 0, errors: 0, bytesIn: 0, bytesOut: 0, subrequests: 0 },
  ...{ kvReads: 0, kvWrites: 0, kvDeletes: 0, kvLists: 0 },
};

interface Row extends Counted {
  readonly worker: string;
  readonly version: string;
  readonly wallMs: number;
  readonly cpuMs: number;
  readonly memoryPeakBytes: number;
}

function countedOf(row: Row): Counted {
  const names = Object.keys(NOTHING) as Array<keyof Counted>;
  return { ...NOTHING, ...Object.fromEntries(names.map((name) => [name, row[name]])) };
}

describe.each(EVERYDAY_INGRESSES)("usage behind %s", (ingress) => {
  let atoll: TestAtoll;
  beforeAll(async () => {
    atoll = await startAtoll({ environment: { ATOLL_INGRESS: ingress } });
  });
  afterAll(() => atoll.stop());

  async function deploy(): Promise<string> {
    const created = await atoll.api(accountPath(atoll, "/storage/kv/namespaces"), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ title: `metered ${Math.random()}` }),
    });
    const { id } = (JSON.parse(created.body) as { result: { id: string } }).result;
    const bindings = [{ type: "kv_namespace", name: "KV", namespace_id: id }];
    const answer = await upload(atoll, { name: "metered", source: SOURCE, metadata: { bindings } });
    expect(answer.status, answer.body).toBe(200);
    return (JSON.parse(answer.body) as { result: { deployment_id: string } }).result.deployment_id;
  }

  async function ask(path: string, body?: string): Promise<number> {
    const request = body === undefined ? {} : { method: "POST", body };
    return (await atoll.get("fra", "metered.localhost", path, request)).status;
  }

  async function rows(): Promise<ReadonlyArray<Row>> {
    const { body } = await atoll.api(accountPath(atoll, "/usage?worker=metered"));
    return (JSON.parse(body) as { result: { workers: ReadonlyArray<Row> } }).result.workers;
  }

  /** Waits until exactly this is told, by version. */
  async function expectUsage(expected: Readonly<Record<string, Counted>>): Promise<void> {
    let told: unknown;
    await eventually(
      async () => {
        told = Object.fromEntries((await rows()).map((row) => [row.version, countedOf(row)]));
        return isDeepStrictEqual(told, expected);
      },
      { what: "usage is told" },
    ).catch(() => undefined);
    expect(told).toEqual(expected);
  }

  /** Kills a process of Atoll's and waits until it is back and the node in fra follows the fleet. */
  async function kill(name: "fra" | "control-plane"): Promise<void> {
    const pid = (await atoll.pids())[name] ?? 0;
    process.kill(pid, "SIGKILL");
    await eventually(async () => (await atoll.pids())[name] !== pid, { what: `${name} is back` });
    await eventually(
      async () => {
        const { revision, nodes } = await readStatus(atoll);
        const fra = nodes.find((node) => node.name === "fra");
        return fra?.connected === true && fra.revision === revision;
      },
      { what: "fra follows the fleet" },
    );
  }

  /** Usage on the node's disk that has no acknowledgement, in batches and in requests. */
  async function waiting(): Promise<{ readonly batches: number; readonly requests: number }> {
    const directory = join(atoll.dataDirectory, "nodes", "fra", "usage");
    const names = (await readdir(directory)).filter((name) => name.endsWith(".batch"));
    const files = await Promise.all(names.map((name) => readFile(join(directory, name))));
    const rows = files.flatMap((file) => decodeMessage(UsageBatch, checkedContent(file)).rows);
    return {
      batches: names.length,
      requests: rows.reduce((sum, { requests }) => sum + requests, 0),
    };
  }

  async function acknowledged(): Promise<void> {
    await eventually(async () => (await waiting()).batches === 0, {
      what: "usage is acknowledged",
    });
  }

  test("is exact over versions, kills and restarts", async () => {
    const first = await deploy();
    // Cold, then warm.
    for (let count = 0; count < 5; count += 1) expect(await ask("/")).toBe(200);
    expect(await ask("/", "x".repeat(100_000))).toBe(200);
    expect(await ask("/bad")).toBe(500);
    expect(await ask("/throw")).toBe(500);
    for (let count = 0; count < 3; count += 1) expect(await ask("/out")).toBe(200);
    for (let count = 0; count < 2; count += 1) expect(await ask("/kv")).toBe(200);
    const client = new WebSocket(atoll.regions.fra.url, {
      headers: { host: "metered.localhost" },
      perMessageDeflate: false,
    });
    await once(client, "open");
    client.send("x".repeat(100));
    await once(client, "message");
    client.close(1_000);
    await once(client, "close");
    const ofFirst: Counted = {
      ...{ requests: 14, errors: 2, subrequests: 3 },
      // Frames of a WebSocket: 100 bytes and 2 for the close, each with a head of 2 and clients' with a mask of 4.
      ...{ bytesIn: 100_000 + 114 },
      // "0 bytes" seven times, "100000 bytes", "bad", "403" three times; a page counts nothing.
      ...{ bytesOut: 7 * 7 + 12 + 3 + 3 * 3 + 106 },
      ...{ kvReads: 2 * 5, kvWrites: 2, kvDeletes: 2, kvLists: 2 },
    };
    await expectUsage({ [first]: ofFirst });
    const [row] = await rows();
    expect(row?.wallMs).toBeGreaterThan(0);
    expect(row?.cpuMs).toBeGreaterThan(1);
    expect(row?.memoryPeakBytes).toBeGreaterThan(1_000_000);

    const second = await deploy();
    for (let count = 0; count < 3; count += 1) expect(await ask("/")).toBe(200);
    // Ended for its limit: the page that its client gets is an error of the version.
    expect(await ask("/loop")).toBe(503);
    const ofSecond: Counted = { ...NOTHING, requests: 4, errors: 1, bytesOut: 3 * 7 };
    await expectUsage({ [first]: ofFirst, [second]: ofSecond });
    const cpuMs = (await rows()).find(({ version }) => version === second)?.cpuMs;
    // The turn of a second for which it was ended, although nothing is left of its cell.
    expect(cpuMs).toBeGreaterThan(900);

    await kill("fra");
    expect(await ask("/")).toBe(200);
    await kill("control-plane");
    expect(await ask("/")).toBe(200);
    const later = { ...ofSecond, requests: 6, bytesOut: 5 * 7 };
    await expectUsage({ [first]: ofFirst, [second]: later });

    await acknowledged();
    const controlPlane = (await atoll.pids())["control-plane"] ?? 0;
    // Stopped, not killed: `atoll up` would start a killed one again at once.
    process.kill(controlPlane, "SIGSTOP");
    try {
      expect(await ask("/")).toBe(200);
      // What the cells used without any request may be sealed before.
      await eventually(async () => (await waiting()).requests > 0, { what: "usage is sealed" });
      const pids = await atoll.pids();
      process.kill(pids["fra"] ?? 0, "SIGKILL");
      await eventually(async () => (await atoll.pids())["fra"] !== pids["fra"], {
        what: "fra is back",
      });
    } finally {
      process.kill(controlPlane, "SIGCONT");
    }
    await acknowledged();
    const last = { ...later, requests: 7, bytesOut: 6 * 7 };
    await expectUsage({ [first]: ofFirst, [second]: last });

    // What was not sealed yet when everything is stopped is told after the next start.
    expect(await ask("/")).toBe(200);
    await atoll.restart();
    await expectUsage({
      [first]: ofFirst,
      [second]: { ...last, requests: 8, bytesOut: 7 * 7 },
    });
    const table = await atoll.atoll(["usage", "metered"]);
    expect(table.output).toMatch(new RegExp(`metered +│ ${first.slice(0, 8)} +│ 14 +│ 2 `));
    const json = await atoll.atoll(["usage", "--json", "metered"]);
    expect(JSON.parse(json.output)).toMatchObject({ workers: await rows() });
  });
});
