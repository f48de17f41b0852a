import type { BlobHash } from "../contract/index.ts";
import { JobThread } from "../threads/job-thread.ts";
import type { AssetHash } from "./schemas.ts";

/** The base64 text of a file in memory that many share. */
export interface EncodedAsset {
  readonly startByte: number;
  readonly endByte: number;
  /** What its hash is made with; absent when nobody asks for that. */
  readonly path: string | undefined;
}

interface DecodeJob {
  /** The texts, and afterwards the contents: each begins where its text began. */
  readonly memory: SharedArrayBuffer;
  readonly assets: ReadonlyArray<EncodedAsset>;
}

/** What of each text came out, in their order. */
interface DecodedAsset {
  readonly sizeBytes: number;
  /** Of the content. */
  readonly blob: BlobHash;
  /** As wrangler makes it, of text and path. */
  readonly hash: AssetHash | undefined;
}

/** Decodes files, and makes their hashes: three quarters of what taking them in costs a processor. */
export type AssetDecoder = JobThread<DecodeJob, ReadonlyArray<DecodedAsset>>;

export function createAssetDecoder(): AssetDecoder {
  return new JobThread(new URL("./decoder-thread.mjs", import.meta.url));
}

/** The hash of content that came without its text. */
export async function hashAsset(
  decoder: AssetDecoder,
  { content, path }: { readonly content: Uint8Array; readonly path: string },
): Promise<AssetHash | undefined> {
  const text = Buffer.from(content).toString("base64");
  const memory = new SharedArrayBuffer(text.length);
  Buffer.from(memory).write(text, "latin1");
  const assets = [{ startByte: 0, endByte: text.length, path }];
  const [decoded] = await decoder.run({ memory, assets });
  return decoded?.hash;
}
