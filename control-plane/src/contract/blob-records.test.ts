import { hash } from "node:crypto";
import { expect, test } from "vitest";
import {
  BLOB_BYTES_MAX,
  blobHead,
  BLOBS_PER_CALL_MAX,
  BlobsRequest,
  readBlobRecords,
  type BlobRecord,
} from "./blob-records.ts";
import { BlobHash } from "./names.ts";

const hashOf = (content: Uint8Array | string): BlobHash => BlobHash.parse(hash("sha256", content));
const MISSING = hashOf("missing");
const CONTENTS = [0, 1, 35, 36, 37, 5_000].map((size) => Buffer.alloc(size, `content ${size}`));
const ANSWER = Buffer.concat([
  ...CONTENTS.flatMap((content) => [blobHead(hashOf(content), content.length), content]),
  blobHead(MISSING, undefined),
]);

/** A stream of these bytes in pieces of one size. */
async function* inPieces(bytes: Uint8Array, pieceBytes: number): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += pieceBytes) {
    yield bytes.subarray(start, start + pieceBytes);
  }
}

/** What came until the end, and how it ended. */
async function readAll(
  answer: AsyncIterable<Uint8Array>,
): Promise<{ readonly records: ReadonlyArray<BlobRecord>; readonly fault: unknown }> {
  const records: BlobRecord[] = [];
  try {
    for await (const record of readBlobRecords(answer)) records.push(record);
    return { records, fault: undefined };
  } catch (fault) {
    return { records, fault };
  }
}

test.each([1, 7, 36, 100, 1_000_000])(
  "blob records: come as they were sent, in pieces of %i bytes",
  async (pieceBytes) => {
    const { records, fault } = await readAll(inPieces(ANSWER, pieceBytes));
    expect(fault).toBeUndefined();
    expect(records.map((record) => record.hash)).toEqual([...CONTENTS.map(hashOf), MISSING]);
    for (const [index, content] of CONTENTS.entries()) {
      expect(Buffer.from(records[index]?.content ?? []).equals(content)).toBe(true);
    }
    expect(records.at(-1)?.content).toBeUndefined();
  },
);

test("blob records: an answer may end after any of them, and is cut wherever else it ends", async () => {
  // All but the one that says that there is none: a head without content ends a record.
  const ends = [0];
  for (const content of CONTENTS) ends.push((ends.at(-1) ?? 0) + 36 + content.length);
  for (let bytes = 0; bytes < ANSWER.length; bytes += 1) {
    const { records, fault } = await readAll(inPieces(ANSWER.subarray(0, bytes), 4_000));
    expect(records.length).toBe(ends.filter((end) => end > 0 && end <= bytes).length);
    const expected = ends.includes(bytes) ? "undefined" : "Error: the answer was cut within a blob";
    expect(String(fault)).toBe(expected);
  }
});

test("blob records: what can't be a blob's size ends the reading before it takes memory", async () => {
  const head = blobHead(MISSING, BLOB_BYTES_MAX + 1);
  const { fault } = await readAll(inPieces(head, 36));
  expect(String(fault)).toContain(`none has over ${BLOB_BYTES_MAX}`);
});

test("blob records: nothing is read ahead, and who stops reading ends the answer", async () => {
  let pieces = 0;
  let isEnded = false;
  async function* endless(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        pieces += 1;
        yield Buffer.concat([blobHead(hashOf("same"), 4), Buffer.from("same")]);
      }
    } finally {
      isEnded = true;
    }
  }
  let records = 0;
  for await (const _ of readBlobRecords(endless())) {
    records += 1;
    expect(pieces).toBe(records);
    if (records === 3) break;
  }
  expect(isEnded).toBe(true);
});

test("blob records: a request names each of a bounded number of blobs once", () => {
  const hashes = (count: number): ReadonlyArray<BlobHash> =>
    Array.from({ length: count }, (_, index) => hashOf(String(index)));
  expect(BlobsRequest.safeParse({ hashes: hashes(BLOBS_PER_CALL_MAX) }).success).toBe(true);
  for (const wrong of [
    hashes(0),
    hashes(BLOBS_PER_CALL_MAX + 1),
    [MISSING, MISSING],
    [MISSING.toUpperCase()],
    [1],
  ]) {
    expect(BlobsRequest.safeParse({ hashes: wrong }).success).toBe(false);
  }
  expect(BlobsRequest.safeParse({ hashes: hashes(1), more: 1 }).success).toBe(false);
});
