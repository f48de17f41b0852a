import { extname } from "node:path/posix";
import { blake3, createBLAKE3 } from "hash-wasm";
import type { AssetHash } from "./schemas.ts";

// Three bytes are four characters. Larger content is hashed in pieces: its text would take several times its memory.
const PIECE_BYTES = 3 * 256 * 1024;

/**
 * The hash by which wrangler names an asset: the first half of BLAKE3 over the content's base64 text and
 * the extension of its path. Equal content under another extension has another hash.
 */
export async function assetHashOf(content: Uint8Array, path: string): Promise<AssetHash> {
  const bytes = Buffer.from(content.buffer, content.byteOffset, content.byteLength);
  const extension = extname(path).slice(1);
  if (bytes.length <= PIECE_BYTES) {
    return (await blake3(bytes.toString("base64") + extension)).slice(0, 32);
  }
  const hasher = await createBLAKE3();
  for (let start = 0; start < bytes.length; start += PIECE_BYTES) {
    hasher.update(bytes.toString("base64", start, Math.min(start + PIECE_BYTES, bytes.length)));
  }
  return hasher.update(extension).digest("hex").slice(0, 32);
}
