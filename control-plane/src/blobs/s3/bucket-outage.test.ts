import { afterEach, beforeEach, expect, test } from "vitest";
import { ControlPlaneApi, uploadForm } from "../../test-support/control-plane-api.ts";
import { S3_BUCKET, S3_CREDENTIALS, S3Server } from "../../test-support/s3-server.ts";
import { SilentServer } from "../../test-support/silent-server.ts";
import { openS3Blobs, type S3Blobs } from "./s3-blobs.ts";

// Long for this machine, short for a test.
const SILENCE_MS = 300;
const LARGE = "x".repeat(100_000);

let server: S3Server;
let blobs: S3Blobs;
let api: ControlPlaneApi;
let values: string;
beforeEach(async () => {
  server = await S3Server.start();
  const { endpoint } = server;
  const place = { bucket: S3_BUCKET, prefix: "", credentials: S3_CREDENTIALS };
  blobs = await openS3Blobs({ ...place, endpoint, silenceMs: SILENCE_MS });
  api = await ControlPlaneApi.start({ openBlobs: blobs.open });
  const { result } = await api.call("POST A/storage/kv/namespaces", { title: "words" });
  values = `A/storage/kv/namespaces/${result.id}/values`;
  await api.deploy("hello");
});
afterEach(async () => {
  await api.close();
  blobs.close();
  await server.remove();
});

/** A deploy of code that the bucket does not have. */
function deploy(text: string) {
  const content = `export default { fetch: () => new Response("${text}") }`;
  const file = { name: "index.js", type: "application/javascript+module", content };
  return api.call("PUT A/workers/scripts/hello", uploadForm({}, [file]));
}

const put = (key: string, body: string) => api.fetch(`${values}/${key}`, { method: "PUT", body });

/** What happens to the bucket, and how it ends. */
const OUTAGES: Readonly<Record<string, () => Promise<() => Promise<void>>>> = {
  "its server is gone": async () => {
    await server.stop();
    return () => server.restart();
  },
  "its server accepts and never answers": async () => {
    const port = Number(new URL(server.endpoint).port);
    await server.stop();
    const silent = await SilentServer.start({ port });
    return async () => {
      await silent.stop();
      await server.restart();
    };
  },
  "it is removed": async () => {
    await server.removeBucket();
    return () => server.makeBucket();
  },
};

test.each(Object.entries(OUTAGES))(
  "bucket: while %s, what needs it is refused, all else goes on, and afterwards it is used again",
  async (_what, begin) => {
    const end = await begin();
    const before = await api.countRows();
    const [deployed, stored] = await Promise.all([deploy("during"), put("large", LARGE)]);
    for (const { status } of [deployed, stored]) expect(status).toBe(503);
    expect(deployed.errors[0]?.message).toMatch(/Could not store a blob: the bucket 'atoll-test'/);
    expect(stored.headers.get("retry-after")).toBe("2");
    expect(await api.countRows()).toEqual(before);
    expect((await api.call("GET A/workers/scripts")).status).toBe(200);
    expect((await put("small", "1")).status).toBe(200);
    expect((await api.fetch(`${values}/large`)).status).toBe(404);
    await end();
    expect((await deploy("after")).status).toBe(200);
    expect((await put("large", LARGE)).status).toBe(200);
    expect(await (await api.fetch(`${values}/large`)).text()).toBe(LARGE);
  },
);
