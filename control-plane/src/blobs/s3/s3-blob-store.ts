import { createHash } from "node:crypto";
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  type GetObjectCommandOutput,
  type PutObjectCommandInput,
} from "@aws-sdk/client-s3";
import { allOver, Slots } from "@atoll/kv-store";
import type { BlobHash } from "../../contract/index.ts";
import { ControlPlaneError } from "../../errors.ts";
import { LIMITS } from "../../limits.ts";
import { blobHashOf, requireSentHash, requireStoredHash } from "../blob-hash.ts";
import type { Admission, BlobBatches, BlobContent, BlobStore, OpenBlob } from "../blob-store.ts";
import type { S3Bucket } from "./s3-bucket.ts";

/** Blobs as objects `<prefix><hash>` of a bucket. An object appears whole or not at all, and is never changed. */
export class S3BlobStore implements BlobStore {
  readonly #bucket: S3Bucket;
  readonly #prefix: string;
  readonly #writes = new Slots(LIMITS.blobWritesAtOnce);
  readonly #reads = new Slots(LIMITS.s3ReadsAtOnce);
  readonly #held = new Slots(LIMITS.blobPiecesHeldMax);
  /** The latest. */
  #failure: { readonly atMs: number; readonly error: unknown } | undefined;

  /** `prefix` is empty or ends with a slash. The caller closes the bucket. */
  constructor(parts: { readonly bucket: S3Bucket; readonly prefix: string }) {
    this.#bucket = parts.bucket;
    this.#prefix = parts.prefix;
  }

  async put(hash: BlobHash, content: BlobContent): Promise<void> {
    if (content instanceof Uint8Array) {
      requireSentHash(hash, blobHashOf(content));
      return this.#store(hash, content);
    }
    // Whole before it is sent: an object of wrong content must never have been there.
    const queuedMs = performance.now();
    await this.#held.run(async () => {
      this.#requireNoFailureSince(queuedMs);
      const whole = await collect(content);
      requireSentHash(hash, blobHashOf(whole));
      await this.#store(hash, whole);
    });
  }

  async putAll(batches: BlobBatches, admit?: Admission): Promise<void> {
    for await (const batch of batches) {
      await admit?.(batch.map(({ hash }) => hash));
      await allOver(batch.map(({ hash, content }) => this.#store(hash, content)));
    }
  }

  async get(hash: BlobHash): Promise<Uint8Array | undefined> {
    return this.#bucket.call("read a blob", async (client, address) => {
      const object = await client.send(
        new GetObjectCommand({ ...address, Key: this.#keyOf(hash) }),
      );
      const sizeBytes = sizeOf(object, hash);
      if (sizeBytes > LIMITS.uploadBytesMax) {
        // More than was ever stored, and than should be taken into memory.
        throw new ControlPlaneError("blob_corrupt", `Stored blob ${hash} has ${sizeBytes} bytes`);
      }
      const content = (await object.Body?.transformToByteArray()) ?? new Uint8Array();
      requireStoredHash(hash, blobHashOf(content));
      return content;
    });
  }

  open(hash: BlobHash): Promise<OpenBlob | undefined> {
    return this.#reads.run(() => this.#open(hash));
  }

  async #open(hash: BlobHash): Promise<OpenBlob | undefined> {
    return this.#bucket.call("read a blob", async (client, address) => {
      const object = await client.send(
        new GetObjectCommand({ ...address, Key: this.#keyOf(hash) }),
      );
      const sizeBytes = sizeOf(object, hash);
      const body = object.Body;
      if (body === undefined || sizeBytes <= LIMITS.blobWholeBytesMax) {
        const whole = await body?.transformToByteArray();
        return { sizeBytes, content: Uint8Array.from(whole ?? []) };
      }
      return { sizeBytes, content: body.transformToWebStream() };
    });
  }

  async has(hash: BlobHash): Promise<boolean> {
    const found = await this.#bucket.call("look for a blob", (client, address) =>
      client.send(new HeadObjectCommand({ ...address, Key: this.#keyOf(hash) })),
    );
    return found !== undefined;
  }

  async remove(hash: BlobHash): Promise<void> {
    await this.#bucket.call("remove a blob", (client, address) =>
      client.send(new DeleteObjectCommand({ ...address, Key: this.#keyOf(hash) })),
    );
  }

  async #store(hash: BlobHash, content: Uint8Array): Promise<void> {
    // Whatever is there is the same: to write it again is quicker than to ask first.
    const request = {
      Key: this.#keyOf(hash),
      Body: content,
      ContentLength: content.length,
      // With the hash that the signature is over: a bucket refuses what arrives as something else.
      ContentMD5: createHash("md5").update(content).digest("base64"),
    };
    const queuedMs = performance.now();
    await this.#writes.run(async () => {
      this.#requireNoFailureSince(queuedMs);
      try {
        await this.#send(request);
      } catch (error) {
        this.#failure = { atMs: performance.now(), error };
        throw error;
      }
    });
  }

  /** Who waited while the bucket did not answer is told so: each on its own would wait as long once more. */
  #requireNoFailureSince(queuedMs: number): void {
    if (this.#failure !== undefined && this.#failure.atMs > queuedMs) throw this.#failure.error;
  }

  async #send(request: Omit<PutObjectCommandInput, "Bucket">): Promise<void> {
    const stored = await this.#bucket.call("store a blob", (client, address) =>
      client.send(new PutObjectCommand({ ...address, ...request })),
    );
    if (stored === undefined) {
      throw new Error(`the bucket said of ${request.Key} that it is not there`);
    }
  }

  #keyOf(hash: BlobHash): string {
    return `${this.#prefix}${hash}`;
  }
}

function sizeOf({ ContentLength }: GetObjectCommandOutput, hash: BlobHash): number {
  if (ContentLength !== undefined) return ContentLength;
  throw new ControlPlaneError("blobs_unavailable", `The bucket does not say how large ${hash} is`);
}

async function collect(content: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of content) {
    bytes += piece.length;
    if (bytes > LIMITS.uploadBytesMax) {
      throw new ControlPlaneError(
        "body_too_large",
        `A blob has more than ${LIMITS.uploadBytesMax} bytes`,
      );
    }
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
