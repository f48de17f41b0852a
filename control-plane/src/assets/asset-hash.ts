import { extname } from "node:path/posix";
import { blake3 } from "hash-wasm";
import type { AssetHash } from "./schemas.ts";

/**
 * The hash by which wrangler names an asset: the first half of BLAKE3 over the content's base64 text and
 * the extension of its path. Equal content under another extension has another hash.
 */
export async function assetHashOf(content: Uint8Array, path: string): Promise<AssetHash> {
  const base64 = Buffer.from(content.buffer, content.byteOffset, content.byteLength).toString(
    "base64",
  );
  const digest = await blake3(base64 + extname(path).slice(1));
  return digest.slice(0, 32);
}
