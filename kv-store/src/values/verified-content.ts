import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import type { ContentHash } from "../entry.ts";

/** What content has to be. */
interface Expected {
  readonly hash: ContentHash;
  readonly sizeBytes: number;
}

/** Writes content to a new file. Fails when it is not what was expected; the file is then of no use. */
export async function writeVerified(
  path: string,
  content: AsyncIterable<Uint8Array>,
  expected: Expected,
): Promise<void> {
  const file = await open(path, "wx");
  try {
    for await (const piece of verified(content, expected)) await file.writeFile(piece);
  } finally {
    await file.close();
  }
}

/** The content in memory. Fails when it is not what was expected. */
export async function readVerified(
  content: AsyncIterable<Uint8Array>,
  expected: Expected,
): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of verified(content, expected)) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** Passes content on, and fails at its end, or where it is too long, when it is not what was expected. */
async function* verified(
  content: AsyncIterable<Uint8Array>,
  expected: Expected,
): AsyncIterable<Uint8Array> {
  const hash = createHash("sha256");
  let sizeBytes = 0;
  for await (const piece of content) {
    sizeBytes += piece.length;
    if (sizeBytes > expected.sizeBytes) throw new Error(`over ${expected.sizeBytes} bytes came`);
    hash.update(piece);
    yield piece;
  }
  const actual = hash.digest("hex");
  if (actual !== expected.hash || sizeBytes !== expected.sizeBytes) {
    throw new Error(`${sizeBytes} bytes with hash ${actual} came`);
  }
}
