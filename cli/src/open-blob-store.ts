import { openS3Blobs, type S3Blobs } from "@atoll/control-plane/s3";
import type { BlobPlace } from "./blob-store.ts";
import { explained } from "./explained.ts";

/** Opens a bucket, with what the environment has for every client of S3. Ends with `close`. */
export async function openBlobStore({ blobStore, s3Endpoint }: BlobPlace): Promise<S3Blobs> {
  const region = process.env["AWS_REGION"];
  return explained(() =>
    openS3Blobs({
      ...blobStore,
      ...(s3Endpoint === undefined ? {} : { endpoint: s3Endpoint }),
      ...(region === undefined ? {} : { region }),
    }),
  );
}
