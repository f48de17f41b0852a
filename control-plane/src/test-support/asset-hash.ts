import { extname } from "node:path/posix";
import { createBLAKE3, type IHasher } from "hash-wasm";
import type { AssetHash } from "../assets/schemas.ts";

/** Makes the hashes by which wrangler names assets, by itself. */
export class AssetHasher {
  readonly #blake3: IHasher;

  static async open(): Promise<AssetHasher> {
    return new AssetHasher(await createBLAKE3());
  }

  private constructor(blake3: IHasher) {
    this.#blake3 = blake3;
  }

  hashOf(base64: Uint8Array, path: string): AssetHash {
    const hash = this.#blake3.init().update(base64).update(extname(path).slice(1)).digest("hex");
    return hash.slice(0, 32);
  }
}
