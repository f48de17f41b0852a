import { createReadStream } from "node:fs";
import {
  BLOBS_PER_CALL_MAX,
  KV_REVISION_HEADER,
  PREVIEW_SIGNATURE_HEADER,
  readBlobRecords,
  type BlobHash,
  type BlobRecord,
  type BlobsRequest,
  type PreviewLabel,
  type WorkerKey,
} from "@atoll/control-plane/contract";
import { KvError, Revision, type ValueBlobs, type ValueFile } from "@atoll/kv-store";
import { request } from "undici";
import { LIMITS } from "../limits.ts";
import type { ControlPlanes } from "./control-planes.ts";

export interface ControlPlaneClientOptions {
  readonly controlPlanes: ControlPlanes;
  readonly credential: string;
  /** How long one that is to send blobs may send nothing; by default `LIMITS.blobSilenceMs`. */
  readonly silenceMsMax?: number;
}

/** The node's plain HTTP calls to the control plane: content that is too large for the link. */
export class ControlPlaneClient implements ValueBlobs {
  readonly #controlPlanes: ControlPlanes;
  readonly #silenceMsMax: number;
  readonly #headers: Readonly<Record<string, string>>;

  constructor(options: ControlPlaneClientOptions) {
    this.#controlPlanes = options.controlPlanes;
    this.#silenceMsMax = options.silenceMsMax ?? LIMITS.blobSilenceMs;
    this.#headers = { authorization: `Bearer ${options.credential}` };
  }

  /**
   * What the control plane has of these blobs, in any order, as it is asked for; the caller verifies it. Throws when
   * nobody answers. An answer that is cut is as good as one that ends: the rest is asked for again.
   */
  async *fetchBlobs(hashes: Iterable<BlobHash>): AsyncGenerator<BlobRecord> {
    const left = new Set(hashes);
    while (left.size > 0) {
      const [leftBefore, asked] = [left.size, [...left.values().take(BLOBS_PER_CALL_MAX)]];
      const { url, body } = await this.#askForBlobs(asked);
      try {
        for await (const record of readBlobRecords(body)) {
          if (!left.delete(record.hash)) throw new Error(`nobody asked for blob ${record.hash}`);
          yield record;
        }
      } catch (error) {
        this.#controlPlanes.leave(url);
        if (left.size === leftBefore) throw error;
      }
      // Or it would be asked for ever.
      if (left.size === leftBefore) throw new Error("the control plane answered without a blob");
    }
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

  async #askForBlobs(
    hashes: BlobsRequest["hashes"],
  ): Promise<{ readonly url: string; readonly body: AsyncIterable<Uint8Array> }> {
    const sent = {
      method: "POST",
      headers: { ...this.#headers, "content-type": "application/json" },
      body: JSON.stringify({ hashes } satisfies BlobsRequest),
      // A node does nothing else while it waits for what a deploy needs, and another one may have it.
      headersTimeout: this.#silenceMsMax,
      bodyTimeout: this.#silenceMsMax,
    } as const;
    return this.#controlPlanes.call(async (url) => {
      const signal = AbortSignal.timeout(LIMITS.blobTransferMs);
      const { statusCode, body } = await request(`${url}/fleet/blobs`, { ...sent, signal });
      if (statusCode === 200) return { url, body };
      await body.dump();
      throw new Error(`the control plane answered ${statusCode} to a request for blobs`);
    });
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
