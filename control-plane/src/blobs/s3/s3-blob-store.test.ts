import { readFile, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LIMITS } from "../../limits.ts";
import { S3_BUCKET, S3_CREDENTIALS, S3Server } from "../../test-support/s3-server.ts";
import { SilentServer } from "../../test-support/silent-server.ts";
import { blobHashOf, HashedContent } from "../blob-hash.ts";
import { describeBlobStore } from "../blob-store.conformance.ts";
import { S3BlobStore } from "./s3-blob-store.ts";
import { openS3Blobs } from "./s3-blobs.ts";
import { S3Bucket } from "./s3-bucket.ts";

const PREFIX = "fleet/blobs/";
// Long for this machine, short for a test.
const SILENCE_MS = 300;

function bucketOf(server: S3Server): S3Bucket {
  const { endpoint } = server;
  return new S3Bucket({ bucket: S3_BUCKET, prefix: "", endpoint, credentials: S3_CREDENTIALS });
}

describeBlobStore("S3 blob store", async () => {
  const server = await S3Server.start();
  const bucket = bucketOf(server);
  const open = () => new S3BlobStore({ bucket, prefix: PREFIX });
  return {
    store: open(),
    reopen: open,
    damage: async (hash) => {
      const path = server.pathOf(`${PREFIX}${hash}`);
      const content = await readFile(path);
      content[0] = (content[0] ?? 0) ^ 1;
      await writeFile(path, content);
    },
    close: async () => {
      bucket.close();
      await server.remove();
    },
  };
});

describe("S3 blob store: ", () => {
  const content = Buffer.from("content");
  const hash = blobHashOf(content);
  let server: S3Server;
  let bucket: S3Bucket;
  let store: S3BlobStore;
  beforeEach(async () => {
    server = await S3Server.start();
    bucket = bucketOf(server);
    store = new S3BlobStore({ bucket, prefix: PREFIX });
  });
  afterEach(async () => {
    bucket.close();
    await server.remove();
  });

  /** Each call of the interface is refused with a message; none says that something is absent. */
  async function expectUnavailable(message: RegExp): Promise<void> {
    const other = blobHashOf(Buffer.from("other"));
    const calls = {
      put: () => store.put(hash, content),
      putAll: () => store.putAll([[HashedContent.of(content)]]),
      get: () => store.get(hash),
      open: () => store.open(hash),
      has: () => store.has(other),
      remove: () => store.remove(hash),
    };
    for (const [name, call] of Object.entries(calls)) {
      const error: unknown = await call().then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      expect(error, name).toMatchObject({ code: "blobs_unavailable", retryable: true });
      expect((error as Error).message, name).toMatch(message);
    }
  }

  test("a bucket that is gone is said to be, and is used again once it is back", async () => {
    await store.put(hash, content);
    await server.removeBucket();
    await expectUnavailable(/the bucket 'atoll-test' at http:\S+ does not exist/);
    await server.makeBucket();
    expect(await store.has(hash)).toBe(false);
    await store.put(hash, content);
    expect(Buffer.from((await store.get(hash)) ?? [])).toEqual(content);
  });

  test("a server that is gone is said to be, and is used again once it is back", async () => {
    await store.put(hash, content);
    await server.stop();
    await expectUnavailable(/can't be reached \(ECONNREFUSED\)/);
    await server.restart();
    expect(Buffer.from((await store.get(hash)) ?? [])).toEqual(content);
  });

  describe("a server that accepts and never answers", () => {
    let silent: SilentServer;
    let attempts: number;
    beforeEach(async () => {
      silent = await SilentServer.start();
      const { endpoint } = silent;
      attempts = LIMITS.s3AttemptsMax;
      bucket.close();
      const place = { bucket: S3_BUCKET, prefix: "", credentials: S3_CREDENTIALS };
      bucket = new S3Bucket({ ...place, endpoint, silenceMs: SILENCE_MS });
      store = new S3BlobStore({ bucket, prefix: PREFIX });
    });
    afterEach(() => silent.stop());

    test("is given up after a bounded time, by every call", async () => {
      const sinceMs = performance.now();
      await expectUnavailable(/can't be reached \(.*(time|Timeout)/i);
      // Six calls, one after the other, with the waits between attempts.
      expect(performance.now() - sinceMs).toBeLessThan(6 * attempts * (SILENCE_MS + 500));
    });

    test("is found out once for all that wait for it, however many those are", async () => {
      const contents = Array.from({ length: 500 }, (_, index) => Buffer.from(`content ${index}`));
      const all = [contents.map((each) => HashedContent.of(each))];
      const sinceMs = performance.now();
      const stored = await Promise.allSettled([store.putAll(all), store.putAll(all)]);
      expect(stored.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
      expect(performance.now() - sinceMs).toBeLessThan(2 * attempts * (SILENCE_MS + 500));
      expect(silent.connections).toBeLessThanOrEqual(attempts * LIMITS.blobWritesAtOnce);
    });
  });

  const largeBytes = LIMITS.blobWholeBytesMax + 1;
  test.each([7, largeBytes])(
    "a server that stops in the midst of %i bytes is given up, too",
    async (size) => {
      const beginning = `HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\ncon`;
      const silent = await SilentServer.start({ beginning });
      const { endpoint } = silent;
      const place = { bucket: S3_BUCKET, prefix: "", credentials: S3_CREDENTIALS };
      const stopping = new S3Bucket({ ...place, endpoint, silenceMs: SILENCE_MS });
      const reading = new S3BlobStore({ bucket: stopping, prefix: PREFIX });
      await expect(reading.get(hash)).rejects.toMatchObject({ code: "blobs_unavailable" });
      const whole = reading
        .open(hash)
        .then((opened) => new Response(opened?.content).arrayBuffer());
      await expect(whole).rejects.toThrow(/./);
      stopping.close();
      await silent.stop();
    },
  );

  test("a bucket that does not let us in is refused at the start, as is one that is not there", async () => {
    const { endpoint } = server;
    const place = { bucket: S3_BUCKET, prefix: "", endpoint, credentials: S3_CREDENTIALS };
    const stranger = { ...S3_CREDENTIALS, accessKeyId: "STRANGER" };
    await expect(openS3Blobs({ ...place, credentials: stranger })).rejects.toThrow(/answers .*403/);
    await expect(openS3Blobs({ ...place, bucket: "nowhere" })).rejects.toThrow(/does not exist/);
    const blobs = await openS3Blobs({ ...place, prefix: "fleet/" });
    await blobs.open("kv-values").put(hash, content);
    expect(await readFile(server.pathOf(`fleet/kv-values/${hash}`))).toEqual(content);
    blobs.close();
    blobs.close();
  });

  test("pieces that are more than a blob may be are refused before they are held", async () => {
    let taken = 0;
    async function* endless(): AsyncIterable<Uint8Array> {
      for (;;) {
        taken += 1_000_000;
        yield new Uint8Array(1_000_000);
      }
    }
    await expect(store.put(hash, endless())).rejects.toMatchObject({ code: "body_too_large" });
    expect(taken).toBeLessThan(LIMITS.uploadBytesMax + 2_000_000);
    expect(await store.has(hash)).toBe(false);
  });
});
