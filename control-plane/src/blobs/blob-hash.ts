import { createHash } from "node:crypto";
import type { BlobHash } from "../contract/index.ts";
import { ControlPlaneError } from "../errors.ts";

/** The address of content. */
export function blobHashOf(content: Uint8Array): BlobHash {
  // A SHA-256 in hexadecimal is what the brand stands for.
  return createHash("sha256").update(content).digest("hex") as BlobHash;
}

/** Throws `blob_mismatch` when content that came under `hash` has another one. */
export function requireSentHash(hash: BlobHash, actual: string): void {
  if (actual === hash) return;
  throw new ControlPlaneError("blob_mismatch", `Content sent as ${hash} hashes to ${actual}`);
}

/** Throws `blob_corrupt` when content that was stored under `hash` has another one now. */
export function requireStoredHash(hash: BlobHash, content: Uint8Array): void {
  const actual = blobHashOf(content);
  if (actual === hash) return;
  throw new ControlPlaneError("blob_corrupt", `Stored blob ${hash} now hashes to ${actual}`);
}
