import { createHash, randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { Readable } from "node:stream";
import { request } from "undici";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startAtoll, type RegionName, type TestAtoll } from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { createProject, type TestProject } from "../support/project.ts";
import { accountPath } from "../support/refusal.ts";

const MIB = 1024 * 1024;
const VALUE_BYTES = 25 * MIB;
const VALUES = 20;
// Half of what the values are: who held them whole would have all of them. What passes through them at once and waits for
// the collector of garbage is 170 MiB where all cores are busy.
const MEMORY_MAX_BYTES = 250 * MIB;

// Values pass through, in both directions, as streams.
const WORKER = `export default {
  async fetch(request, env) {
    const key = new URL(request.url).pathname.slice(1);
    if (request.method === "PUT") {
      await env.KV.put(key, request.body);
      return new Response("stored");
    }
    const value = await env.KV.get(key, "stream");
    return value === null ? new Response("absent", { status: 404 }) : new Response(value);
  },
};`;

let atoll: TestAtoll;
let project: TestProject;

beforeAll(async () => {
  atoll = await startAtoll();
  const created = await atoll.api(accountPath(atoll, "/storage/kv/namespaces"), {
    method: "POST",
    body: JSON.stringify({ title: "large" }),
  });
  const { id } = (JSON.parse(created.body) as { result: { id: string } }).result;
  project = await createProject({
    "wrangler.jsonc": JSON.stringify({
      name: "large",
      main: "index.js",
      compatibility_date: "2026-06-01",
      kv_namespaces: [{ binding: "KV", id }],
    }),
    "index.js": WORKER,
  });
  const deployed = await atoll.wrangler(project.directory, ["deploy"]);
  expect(deployed.exitCode, deployed.output).toBe(0);
  for (const region of ["iad", "fra"] as const) {
    await eventually(async () => (await read(region, "none")).status === 404, {
      what: `${region} answers`,
    });
  }
});
afterAll(async () => {
  await atoll.stop();
  await project.remove();
});

interface ReadValue {
  readonly status: number;
  readonly hash: string;
  readonly bytes: number;
}

function urlOf(region: RegionName, key: string): { url: string; headers: { host: string } } {
  const { url, port } = atoll.regions[region];
  return { url: `${url}/${key}`, headers: { host: `large.localhost:${port}` } };
}

async function read(region: RegionName, key: string): Promise<ReadValue> {
  const { url, headers } = urlOf(region, key);
  const { statusCode, body } = await request(url, { headers });
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const piece of body) {
    hash.update(piece as Buffer); // no encoding is set
    bytes += (piece as Buffer).length;
  }
  return { status: statusCode, hash: hash.digest("hex"), bytes };
}

async function store(region: RegionName, key: string, seed: Buffer): Promise<string> {
  const hash = createHash("sha256");
  const { url, headers } = urlOf(region, key);
  const content = (function* () {
    for (let piece = 0; piece < VALUE_BYTES / MIB; piece += 1) {
      const bytes = Buffer.alloc(MIB, seed);
      bytes.writeUInt32BE(piece, 0);
      hash.update(bytes);
      yield bytes;
    }
  })();
  const { statusCode, body } = await request(url, {
    method: "PUT",
    headers: { ...headers, "content-length": String(VALUE_BYTES) },
    body: Readable.from(content),
  });
  const answer = await body.text();
  expect([statusCode, answer]).toEqual([200, "stored"]);
  return hash.digest("hex");
}

/** Runs the action; the most memory that each process took more than before. */
async function measured(
  names: ReadonlyArray<string>,
  action: () => Promise<void>,
): Promise<ReadonlyMap<string, number>> {
  const pids = await atoll.pids();
  const before = new Map<string, number>();
  for (const name of names) {
    // The peak is counted from here on.
    await writeFile(`/proc/${pids[name]}/clear_refs`, "5");
    before.set(name, await memoryOf(pids[name] ?? 0, "VmRSS"));
  }
  await action();
  const grown = new Map<string, number>();
  for (const name of names) {
    const peak = await memoryOf(pids[name] ?? 0, "VmHWM");
    grown.set(name, peak - (before.get(name) ?? 0));
  }
  return grown;
}

async function memoryOf(pid: number, field: "VmRSS" | "VmHWM"): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  const [, kilobytes] = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(status) ?? [];
  return Number(kilobytes) * 1024;
}

test(
  "KV: twenty values of 25 MiB are put and read at once, and nobody holds them in memory",
  { timeout: 300_000 },
  async () => {
    const keys = Array.from({ length: VALUES }, (_, index) => `v${index}`);
    const hashes = new Map<string, string>();
    const putting = await measured(["iad", "control-plane"], async () => {
      const puts = keys.map(async (key) => {
        hashes.set(key, await store("iad", key, randomBytes(64)));
      });
      await Promise.all(puts);
    });
    const getting = await measured(["iad", "fra", "control-plane"], async () => {
      const reads = keys.flatMap((key) =>
        (["iad", "fra"] as const).map(async (region) => {
          let value: ReadValue | undefined;
          // The other region may not have heard of it yet.
          const hasCome = async (): Promise<boolean> => {
            value = await read(region, key);
            return value.status === 200;
          };
          await eventually(hasCome, { what: `${region} has ${key}`, deadlineMs: 120_000 });
          expect(value).toMatchObject({ bytes: VALUE_BYTES, hash: hashes.get(key) });
        }),
      );
      await Promise.all(reads);
    });
    const megabytes = (grown: ReadonlyMap<string, number>): object =>
      Object.fromEntries([...grown].map(([name, bytes]) => [name, Math.round(bytes / MIB)]));
    console.info("MiB more at the most", { put: megabytes(putting), get: megabytes(getting) });
    for (const bytes of [...putting.values(), ...getting.values()]) {
      expect(bytes).toBeLessThan(MEMORY_MAX_BYTES);
    }
  },
);
