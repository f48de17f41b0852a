import type { BlobArea, BlobStore } from "../blob-store.ts";
import { S3BlobStore } from "./s3-blob-store.ts";
import { S3Bucket, type S3Place } from "./s3-bucket.ts";

/** The blobs of a control plane in one bucket. */
export interface S3Blobs {
  readonly open: (area: BlobArea) => BlobStore;
  /** Whether nothing is in the place yet. Rejected with `blobs_unavailable`. */
  isEmpty(): Promise<boolean>;
  /** Ends the connections. May be called twice. */
  close(): void;
}

/** Rejected with `blobs_unavailable` unless the bucket is there: a wrong name should be seen at the start. */
export async function openS3Blobs(place: S3Place): Promise<S3Blobs> {
  const bucket = new S3Bucket(place);
  try {
    await bucket.check();
  } catch (error) {
    bucket.close();
    throw error;
  }
  return {
    open: (area) => new S3BlobStore({ bucket, prefix: `${place.prefix}${area}/` }),
    isEmpty: () => bucket.isEmpty(place.prefix),
    close: () => bucket.close(),
  };
}
