import { createHash, hash } from "node:crypto";
import type { BlobHash } from "../contract/index.ts";
import { ControlPlaneError } from "../errors.ts";
import type { OpenBlob } from "./blob-store.ts";

/** The address of content. */
export function blobHashOf(content: Uint8Array): BlobHash {
  // A SHA-256 in hexadecimal is what the brand stands for.
  return hash("sha256", content, "hex") as BlobHash;
}

/** The address of content that was opened, of which a piece is in memory at a time. */
export async function openedHash({ content }: OpenBlob): Promise<string> {
  const actual = createHash("sha256");
  const pieces = content instanceof Uint8Array ? [content] : content;
  for await (const piece of pieces) actual.update(piece);
  return actual.digest("hex");
}

/** Content with its address: made from it, so that nobody who gets both needs to check. */
export class HashedContent {
  readonly content: Uint8Array;
  // Private, so that nothing else passes for one.
  readonly #hash: BlobHash;

  private constructor(content: Uint8Array, hash: BlobHash) {
    this.content = content;
    this.#hash = hash;
  }

  static of(content: Uint8Array): HashedContent {
    return new HashedContent(content, blobHashOf(content));
  }

  /** For a thread that has made the hash from this very content, in memory that both see. */
  static madeElsewhere(content: Uint8Array, hash: BlobHash): HashedContent {
    return new HashedContent(content, hash);
  }

  get hash(): BlobHash {
    return this.#hash;
  }
}

/** Throws `blob_mismatch` when content that came under a hash has another one. */
export function requireSentHash(sent: BlobHash, actual: string): void {
  if (actual === sent) return;
  throw new ControlPlaneError("blob_mismatch", `Content sent as ${sent} hashes to ${actual}`);
}

/** Throws `blob_corrupt` when content that was stored under a hash has another one now. */
export function requireStoredHash(stored: BlobHash, actual: string): void {
  if (actual === stored) return;
  throw new ControlPlaneError("blob_corrupt", `Stored blob ${stored} now hashes to ${actual}`);
}
