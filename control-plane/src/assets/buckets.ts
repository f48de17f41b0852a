import { LIMITS } from "../limits.ts";
import type { AnnouncedAsset } from "./asset-checks.ts";
import type { AnnouncedManifest, AssetHash } from "./schemas.ts";

/** Files of a manifest by hash: several paths may share one. */
export type FilesByHash = ReadonlyMap<AssetHash, AnnouncedAsset>;

export function filesByHash(manifest: AnnouncedManifest): FilesByHash {
  return new Map(Object.entries(manifest).map(([path, { hash, size }]) => [hash, { path, size }]));
}

/** Groups files so that no bucket is too large to send, nor has too many of them; each appears once. */
export function packBuckets(
  files: ReadonlyMap<AssetHash, { readonly size: number }>,
): ReadonlyArray<ReadonlyArray<AssetHash>> {
  const buckets: AssetHash[][] = [];
  let bucketBytes = 0;
  for (const [hash, { size }] of files) {
    const bucket = buckets.at(-1);
    const isFull =
      bucket === undefined ||
      bucket.length >= LIMITS.assetBucketFilesMax ||
      bucketBytes + size > LIMITS.assetBucketBytesMax;
    if (isFull) {
      buckets.push([hash]);
      bucketBytes = size;
    } else {
      bucket.push(hash);
      bucketBytes += size;
    }
  }
  return buckets;
}
