import { createReadStream } from "node:fs";
import {
  KV_REVISION_HEADER,
  PREVIEW_SIGNATURE_HEADER,
  type BlobHash,
  type PreviewLabel,
  type WorkerKey,
} from "@atoll/control-plane/contract";
import { KvError, Revision, type ValueBlobs, type ValueFile } from "@atoll/kv-store";
import { request } from "undici";
import { LIMITS } from "../limits.ts";
import type { ControlPlanes } from "./control-planes.ts";

/** The node's plain HTTP calls to the control plane: content that is too large for the link. */
export class ControlPlaneClient implements ValueBlobs {
  readonly #controlPlanes: ControlPlanes;
  readonly #headers: Readonly<Record<string, string>>;

  constructor(options: { readonly controlPlanes: ControlPlanes; readonly credential: string }) {
    this.#controlPlanes = options.controlPlanes;
    this.#headers = { authorization: `Bearer ${options.credential}` };
  }

  /** All of a blob's content. Rejected when it can't be had; the caller verifies the hash. */
  async fetchBlob(hash: BlobHash): Promise<Uint8Array> {
    const response = await this.#get(hash, AbortSignal.timeout(LIMITS.blobTransferMs));
    if (response === undefined) throw new Error(`the control plane has no blob ${hash}`);
    return new Uint8Array(await response.arrayBuffer());
  }

  /** A preview as the control plane signed it; `undefined` when there is none. Rejected when nobody says. */
  async fetchPreview(
    worker: WorkerKey,
    label: PreviewLabel,
  ): Promise<{ readonly body: Uint8Array; readonly signature: Uint8Array } | undefined> {
    const query = new URLSearchParams({ worker, label }).toString();
    const signal = AbortSignal.timeout(LIMITS.previewLookupMs);
    const response = await this.#controlPlanes.call((url) =>
      fetch(`${url}/fleet/previews?${query}`, { headers: this.#headers, signal }),
    );
    const body = new Uint8Array(await response.arrayBuffer());
    if (response.status === 404) return undefined;
    if (!response.ok) throw new Error(`the control plane answered ${response.status} to a preview`);
    const signature = Buffer.from(response.headers.get(PREVIEW_SIGNATURE_HEADER) ?? "", "base64");
    return { body, signature };
  }

  async fetch(
    { hash, place }: Parameters<ValueBlobs["fetch"]>[0],
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array> | undefined> {
    const search = place === undefined ? "" : `?${new URLSearchParams({ ...place }).toString()}`;
    const response = await this.#get(`${hash}${search}`, signal);
    // A null body is only of answers without content, and these are refused as failures.
    return response?.body ?? undefined;
  }

  async store(hash: string, file: ValueFile, signal: AbortSignal): Promise<void> {
    // Not `fetch`, which reads a whole file into memory, however slowly it is taken.
    const headers = {
      ...this.#headers,
      "content-type": "application/octet-stream",
      "content-length": String(file.sizeBytes),
    };
    const statusCode = await this.#controlPlanes.call(async (url) => {
      const content = createReadStream(file.path);
      const sent = { method: "PUT", headers, body: content, signal } as const;
      const answer = await request(blobUrl(url, hash), sent);
      await answer.body.dump();
      return answer.statusCode;
    });
    if (statusCode >= 300) {
      throw new Error(`the control plane answered ${statusCode} to storing blob ${hash}`);
    }
  }

  /** `undefined` when the control plane has no such blob. */
  async #get(blob: string, signal: AbortSignal): Promise<Response | undefined> {
    const response = await this.#controlPlanes.call((url) =>
      fetch(blobUrl(url, blob), { headers: this.#headers, signal }),
    );
    if (response.ok) return response;
    await response.body?.cancel();
    if (response.status === 404) {
      const found = Revision.safeParse(
        Number(response.headers.get(KV_REVISION_HEADER) ?? NaN),
      ).data;
      if (found === undefined) return undefined;
      throw new KvError("value_gone", `the control plane has no blob ${blob}`, { found });
    }
    throw new Error(`the control plane answered ${response.status} for blob ${blob}`);
  }
}

function blobUrl(url: string, blob: string): string {
  return `${url}/fleet/blobs/${blob}`;
}
