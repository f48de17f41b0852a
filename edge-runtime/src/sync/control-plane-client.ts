import type { BlobHash } from "@atoll/control-plane/contract";
import { LIMITS } from "../limits.ts";

/** The node's plain HTTP calls to the control plane: content that is too large for the link. */
export class ControlPlaneClient {
  readonly #url: string;
  readonly #headers: Readonly<Record<string, string>>;

  constructor(options: { readonly controlPlaneUrl: string; readonly credential: string }) {
    this.#url = options.controlPlaneUrl;
    this.#headers = { authorization: `Bearer ${options.credential}` };
  }

  /** Content of a blob. Rejected when it can't be had; the caller verifies the hash. */
  async fetchBlob(hash: BlobHash | string): Promise<Uint8Array> {
    const response = await fetch(`${this.#url}/fleet/blobs/${hash}`, {
      headers: this.#headers,
      signal: AbortSignal.timeout(LIMITS.blobTransferMs),
    });
    if (!response.ok) {
      await response.body?.cancel();
      throw new Error(`the control plane answered ${response.status} for blob ${hash}`);
    }
    return new Uint8Array(await response.arrayBuffer());
  }

  /** Stores content under its hash, durably when this resolves. */
  async storeBlob(hash: string, content: Uint8Array): Promise<void> {
    const response = await fetch(`${this.#url}/fleet/blobs/${hash}`, {
      method: "PUT",
      headers: { ...this.#headers, "content-type": "application/octet-stream" },
      body: Buffer.from(content.buffer, content.byteOffset, content.byteLength),
      signal: AbortSignal.timeout(LIMITS.blobTransferMs),
    });
    await response.body?.cancel();
    if (!response.ok) {
      throw new Error(`the control plane answered ${response.status} to storing blob ${hash}`);
    }
  }
}
