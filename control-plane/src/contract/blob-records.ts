import { z } from "zod";
import { BlobHash } from "./names.ts";

/** Blobs that one call asks for. Their hashes are 34 KB of JSON. */
export const BLOBS_PER_CALL_MAX = 500;

/** The largest blob: an upload's code has at most 64 MiB, and a static file 25. */
export const BLOB_BYTES_MAX = 64 * 1024 * 1024;

/**
 * `POST /fleet/blobs`: a node asks for code and files of workers. The answer has records, as `blobHead` says: for each
 * blob its content, or that there is none. It ends early after many bytes; who wants the rest asks again.
 */
export const BlobsRequest = z.strictObject({
  hashes: z
    .array(BlobHash)
    .min(1)
    .max(BLOBS_PER_CALL_MAX)
    .refine((hashes) => new Set(hashes).size === hashes.length, "each blob is asked for once"),
});
export type BlobsRequest = z.infer<typeof BlobsRequest>;

/** What an answer says of one blob. */
export interface BlobRecord {
  readonly hash: BlobHash;
  /** Not verified yet; `undefined` where the control plane has none. It may share its memory with others. */
  readonly content: Uint8Array | undefined;
}

const HASH_BYTES = 32;
const HEAD_BYTES = HASH_BYTES + 4;
// In place of a size, which is far below.
const NO_BLOB = 0xffff_ffff;

/** What a blob's content follows in an answer: its hash and its size, big-endian; all ones where there is no blob. */
export function blobHead(hash: BlobHash, sizeBytes: number | undefined): Uint8Array {
  const head = Buffer.alloc(HEAD_BYTES);
  head.write(hash, "hex");
  head.writeUInt32BE(sizeBytes ?? NO_BLOB, HASH_BYTES);
  return head;
}

/**
 * The records of an answer, one at a time: what comes after one is read when the next is asked for. Throws when the
 * answer ends within a record, has a larger one than there are, or breaks off.
 */
export async function* readBlobRecords(
  answer: AsyncIterable<Uint8Array>,
): AsyncGenerator<BlobRecord> {
  const pieces = new Pieces(answer);
  try {
    for (;;) {
      const head = await pieces.take(HEAD_BYTES);
      if (head === undefined) return;
      const hash = BlobHash.parse(Buffer.from(head.subarray(0, HASH_BYTES)).toString("hex"));
      const size = new DataView(head.buffer, head.byteOffset).getUint32(HASH_BYTES);
      yield { hash, content: size === NO_BLOB ? undefined : await contentOf(pieces, size) };
    }
  } finally {
    await pieces.close();
  }
}

async function contentOf(pieces: Pieces, sizeBytes: number): Promise<Uint8Array> {
  if (sizeBytes > BLOB_BYTES_MAX) {
    throw new Error(
      `a blob of ${sizeBytes} bytes was announced, and none has over ${BLOB_BYTES_MAX}`,
    );
  }
  const content = await pieces.take(sizeBytes);
  if (content === undefined) throw new Error(CUT);
  return content;
}

const CUT = "the answer was cut within a blob";

/** A stream's bytes, by as many as are asked for. */
class Pieces {
  readonly #source: AsyncIterator<Uint8Array>;
  /** Of the latest piece, what was not taken yet. */
  #left: Uint8Array = new Uint8Array();

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** `undefined` where the stream ends before the first of these bytes. Throws where it ends before the last. */
  async take(bytes: number): Promise<Uint8Array | undefined> {
    if (this.#left.length >= bytes) return this.#cut(bytes);
    const taken = Buffer.allocUnsafeSlow(bytes);
    let filled = 0;
    while (filled < bytes) {
      if (this.#left.length === 0) {
        const { value, done } = await this.#source.next();
        if (done === true && filled === 0) return undefined;
        if (done === true) throw new Error(CUT);
        this.#left = value;
      }
      const piece = this.#cut(Math.min(bytes - filled, this.#left.length));
      taken.set(piece, filled);
      filled += piece.length;
    }
    return taken;
  }

  /** Lets the stream's owner know that no more of it is read. */
  async close(): Promise<void> {
    await this.#source.return?.();
  }

  #cut(bytes: number): Uint8Array {
    const cut = this.#left.subarray(0, bytes);
    this.#left = this.#left.subarray(bytes);
    return cut;
  }
}
