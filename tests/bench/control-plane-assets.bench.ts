import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { blake3 } from "hash-wasm";
import { request } from "undici";
import type { TestAtoll } from "../support/atoll.ts";
import type { Benchmark, Outcome } from "./benchmark.ts";
import { startBenchAtoll } from "./fleet.ts";
import { median } from "./statistics.ts";

const FILES = 10_000;
const FILE_BYTES = 20_000;
// wrangler sends so many buckets at a time.
const BUCKETS_AT_A_TIME = 3;
const ROUNDS = 3;
const MB = 1_000_000;

// The promises.
const MEMORY_MB_MAX = 300;
const MB_PER_SECOND_MIN = 50;

/** A bucket's body as wrangler sends it, made before the clock runs: what is measured is the other end. */
interface Bucket {
  readonly contentType: string;
  readonly body: Uint8Array;
}

/** Static files on their way into the control plane, as wrangler sends them. */
export const controlPlaneAssets: Benchmark = {
  name: "control-plane-assets",
  subject: "10,000 files of 200 MB together from announcement to completion, over the loopback",
  run: async (resources): Promise<Outcome> => {
    const atoll = await startBenchAtoll(resources);
    const { "control-plane": pid = 0 } = await atoll.pids();
    const idleMb = await peakMemoryMb(pid);
    const samples = { seconds: [] as number[], secondsAgain: [] as number[] };
    for (let round = 0; round < ROUNDS; round += 1) {
      // Other content each time: what is there already is not sent.
      const files = await makeFiles();
      samples.seconds.push(await upload(atoll, files));
      samples.secondsAgain.push(await upload(atoll, files));
    }
    return {
      settings: { files: FILES, fileBytes: FILE_BYTES, bucketsAtATime: BUCKETS_AT_A_TIME },
      figures: [
        {
          name: "content stored, p50",
          value: (FILES * FILE_BYTES) / MB / median(samples.seconds),
          unit: "MB/s",
          atLeast: MB_PER_SECOND_MIN,
        },
        { name: "the same files again, p50", value: median(samples.secondsAgain), unit: "s" },
        {
          name: "memory of the control plane, highest",
          value: await peakMemoryMb(pid),
          unit: "MB",
          atMost: MEMORY_MB_MAX,
        },
        { name: "memory of the control plane before", value: idleMb, unit: "MB" },
      ],
      samples,
    };
  },
};

type Files = ReadonlyMap<string, Buffer>;

/** By wrangler's hashes. */
async function makeFiles(): Promise<Files> {
  const files = new Map<string, Buffer>();
  for (let number = 0; number < FILES; number += 1) {
    const content = randomBytes(FILE_BYTES);
    files.set((await blake3(`${content.toString("base64")}bin`)).slice(0, 32), content);
  }
  return files;
}

/** Seconds of all calls that it takes. */
async function upload(atoll: TestAtoll, files: Files): Promise<number> {
  const account = `${atoll.url}/client/v4/accounts/${atoll.variables["CLOUDFLARE_ACCOUNT_ID"]}`;
  const manifest = Object.fromEntries(
    [...files.keys()].map((hash) => [`/${hash}.bin`, { hash, size: FILE_BYTES }]),
  );
  const announcement = JSON.stringify({ manifest });
  const startedAt = performance.now();
  const { jwt, buckets = [] } = await call(
    `${account}/workers/scripts/site/assets-upload-session`,
    {
      token: String(atoll.variables["CLOUDFLARE_API_TOKEN"]),
      contentType: "application/json",
      body: Buffer.from(announcement),
    },
  );
  let ms = performance.now() - startedAt;
  const bodies = await Promise.all(buckets.map((hashes) => makeBucket(files, hashes)));
  const path = `${account}/workers/assets/upload?base64=true`;
  let isComplete = buckets.length === 0;
  const queue = bodies.values();
  const sendAll = async (): Promise<void> => {
    for (const body of queue) {
      const answer = await call(path, { token: jwt, ...body });
      isComplete ||= answer.jwt !== undefined;
    }
  };
  const sentAt = performance.now();
  await Promise.all(Array.from({ length: BUCKETS_AT_A_TIME }, sendAll));
  ms += performance.now() - sentAt;
  if (!isComplete) throw new Error("everything was sent, and the upload is not complete");
  return ms / 1_000;
}

async function makeBucket(files: Files, hashes: ReadonlyArray<string>): Promise<Bucket> {
  const form = new FormData();
  for (const hash of hashes) {
    const text = files.get(hash)?.toString("base64") ?? "";
    form.append(hash, new File([text], hash, { type: "application/octet-stream" }));
  }
  const encoded = new Response(form);
  const contentType = encoded.headers.get("content-type") ?? "";
  return { contentType, body: new Uint8Array(await encoded.arrayBuffer()) };
}

interface UploadAnswer {
  readonly jwt: string;
  readonly buckets?: ReadonlyArray<ReadonlyArray<string>>;
}

async function call(url: string, sent: Bucket & { readonly token: string }): Promise<UploadAnswer> {
  const { statusCode, body } = await request(url, {
    method: "POST",
    headers: { authorization: `Bearer ${sent.token}`, "content-type": sent.contentType },
    body: sent.body,
  });
  const text = await body.text();
  if (statusCode >= 300) throw new Error(`${url} answered ${statusCode}: ${text.slice(0, 500)}`);
  return (JSON.parse(text) as { readonly result: UploadAnswer }).result;
}

/** The most memory that a process has had since its start. */
async function peakMemoryMb(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  const kib = /^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1];
  if (kib === undefined) throw new Error(`the peak memory of process ${pid} can't be read`);
  return (Number(kib) * 1_024) / MB;
}
