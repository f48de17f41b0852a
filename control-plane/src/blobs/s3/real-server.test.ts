import { randomUUID } from "node:crypto";
import {
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { describe, expect, test } from "vitest";
import { blobHashOf } from "../blob-hash.ts";
import { describeBlobStore } from "../blob-store.conformance.ts";
import { S3BlobStore } from "./s3-blob-store.ts";
import { openS3Blobs } from "./s3-blobs.ts";
import { S3Bucket, type S3Place } from "./s3-bucket.ts";

/**
 * Address of a server of S3 that is used in earnest, with keys in the usual variables. `npm run check:all` starts one;
 * everyday tests have one that is made for tests.
 */
const ENDPOINT = process.env["ATOLL_TEST_S3"];
const PREFIX = "fleet/blobs/";

/** A bucket of its own on that server. */
async function makeBucket() {
  const endpoint = ENDPOINT ?? "";
  const client = new S3Client({ region: "us-east-1", endpoint, forcePathStyle: true });
  const place: S3Place = { bucket: `atoll-test-${randomUUID()}`, prefix: "", endpoint };
  const Bucket = place.bucket;
  await client.send(new CreateBucketCommand({ Bucket }));
  return {
    place,
    put: (key: string, content: Uint8Array) =>
      client.send(new PutObjectCommand({ Bucket, Key: key, Body: content })),
    remove: async () => {
      const { Contents: objects = [] } = await client.send(new ListObjectsV2Command({ Bucket }));
      for (const { Key } of objects) await client.send(new DeleteObjectCommand({ Bucket, Key }));
      await client.send(new DeleteBucketCommand({ Bucket }));
      client.destroy();
    },
  };
}

describe.runIf(ENDPOINT !== undefined)("on a server of ATOLL_TEST_S3: ", () => {
  describeBlobStore("S3 blob store", async () => {
    const made = await makeBucket();
    const bucket = new S3Bucket(made.place);
    const open = () => new S3BlobStore({ bucket, prefix: PREFIX });
    const store = open();
    return {
      store,
      reopen: open,
      damage: async (hash) => {
        const content = Buffer.from((await store.get(hash)) ?? []);
        content[0] = (content[0] ?? 0) ^ 1;
        await made.put(`${PREFIX}${hash}`, content);
      },
      close: async () => {
        bucket.close();
        await made.remove();
      },
    };
  });

  test("S3 blob store: an empty place, and a bucket that is gone, are told", async () => {
    const made = await makeBucket();
    const blobs = await openS3Blobs({ ...made.place, prefix: "fleet/" });
    expect(await blobs.isEmpty()).toBe(true);
    const content = Buffer.from("content");
    await made.put("elsewhere", content);
    expect(await blobs.isEmpty()).toBe(true);
    await blobs.open("blobs").put(blobHashOf(content), content);
    expect(await blobs.isEmpty()).toBe(false);
    await made.remove();
    const reading = blobs.open("blobs").get(blobHashOf(content));
    await expect(reading).rejects.toMatchObject({ code: "blobs_unavailable" });
    blobs.close();
  });
});
