import { extname } from "node:path/posix";
import { createBLAKE3, type IHasher } from "hash-wasm";
import type { AssetHash } from "./schemas.ts";

/**
 * Makes the hashes by which wrangler names assets: the first half of BLAKE3 over the content's base64 text and the
 * extension of its path. Equal content under another extension has another hash.
 */
export class AssetHasher {
  readonly #blake3: IHasher;

  static async open(): Promise<AssetHasher> {
    return new AssetHasher(await createBLAKE3());
  }

  private constructor(blake3: IHasher) {
    this.#blake3 = blake3;
  }

  /** Of the text as it travels: to encode the content anew would take longer than to hash it. */
  hashOf(base64: Uint8Array, path: string): AssetHash {
    const hash = this.#blake3.init().update(base64).update(extname(path).slice(1)).digest("hex");
    return hash.slice(0, 32);
  }
}
