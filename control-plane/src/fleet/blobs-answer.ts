import type { BlobStore, OpenBlob } from "../blobs/blob-store.ts";
import { chunksOf } from "../chunks-of.ts";
import { blobHead, type BlobHash } from "../contract/index.ts";
import { LIMITS } from "../limits.ts";

type Blobs = Pick<BlobStore, "open">;

/**
 * What a node gets that asks for many blobs, piece by piece as it is taken: first the small ones, read a few at a time
 * and sent together, then the large ones one after the other. It ends early rather than have more than
 * `LIMITS.blobsAnswerBytesMax`; a blob that is larger comes alone. It ends early, too, before what can't be read, which
 * is thrown only if nothing comes before it: whoever asks for the rest is told.
 */
export async function* blobsAnswer(
  blobs: Blobs,
  hashes: ReadonlyArray<BlobHash>,
): AsyncGenerator<Uint8Array> {
  let sentBytes = 0;
  const hasRoom = (bytes: number): boolean =>
    sentBytes === 0 || sentBytes + bytes <= LIMITS.blobsAnswerBytesMax;
  const unlessBegun = (error: unknown): undefined => {
    if (sentBytes === 0) throw error;
  };
  const large: BlobHash[] = [];
  for (const group of chunksOf(hashes, LIMITS.blobReadsAtOnce)) {
    const records = await readSmall(blobs, group, large).catch(unlessBegun);
    if (records === undefined || !hasRoom(records.length)) return;
    sentBytes += records.length;
    if (records.length > 0) yield records;
  }
  for (const hash of large) {
    const blob = await openAny(blobs, hash).catch(unlessBegun);
    if (blob === undefined || !hasRoom(blob.sizeBytes)) return close(blob);
    sentBytes += blob.sizeBytes;
    yield* recordOf(hash, blob);
  }
}

/** A blob, or that there is none. */
type AnyBlob = OpenBlob | { readonly sizeBytes: 0; readonly content: undefined };

async function openAny(blobs: Blobs, hash: BlobHash): Promise<AnyBlob> {
  return (await blobs.open(hash)) ?? { sizeBytes: 0, content: undefined };
}

/** The records of those that are small, or not there. Adds the others to `large`, in their order. */
async function readSmall(
  blobs: Blobs,
  hashes: ReadonlyArray<BlobHash>,
  large: BlobHash[],
): Promise<Uint8Array> {
  const read = async (hash: BlobHash): Promise<ReadonlyArray<Uint8Array> | undefined> => {
    const blob = await openAny(blobs, hash);
    if (!(blob.content instanceof ReadableStream)) return wholeRecord(hash, blob.content);
    // Not kept open until its turn comes, which may take long: a bucket would give up.
    await close(blob);
    return undefined;
  };
  const records = await Promise.all(hashes.map(read));
  large.push(...hashes.filter((_, index) => records[index] === undefined));
  return Buffer.concat(records.flatMap((record) => record ?? []));
}

async function* recordOf(
  hash: BlobHash,
  { sizeBytes, content }: AnyBlob,
): AsyncGenerator<Uint8Array> {
  if (!(content instanceof ReadableStream)) {
    yield Buffer.concat(wholeRecord(hash, content));
    return;
  }
  let isFirst = true;
  for await (const piece of content) {
    // With its head, so that who goes away meanwhile ends the reading, too.
    yield isFirst ? Buffer.concat([blobHead(hash, sizeBytes), piece]) : piece;
    isFirst = false;
  }
}

function wholeRecord(hash: BlobHash, content: Uint8Array | undefined): ReadonlyArray<Uint8Array> {
  const head = blobHead(hash, content?.length);
  return content === undefined ? [head] : [head, content];
}

async function close(blob: AnyBlob | undefined): Promise<void> {
  if (blob?.content instanceof ReadableStream) await blob.content.cancel();
}
