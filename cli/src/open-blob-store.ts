import { ControlPlaneError } from "@atoll/control-plane";
import { openS3Blobs, type S3Blobs } from "@atoll/control-plane/s3";
import type { BlobPlace } from "./blob-store.ts";
import { UsageError } from "./settings.ts";

/** Opens a bucket, with what the environment has for every client of S3. Ends with `close`. */
export async function openBlobStore({ blobStore, s3Endpoint }: BlobPlace): Promise<S3Blobs> {
  const region = process.env["AWS_REGION"];
  try {
    return await openS3Blobs({
      ...blobStore,
      ...(s3Endpoint === undefined ? {} : { endpoint: s3Endpoint }),
      ...(region === undefined ? {} : { region }),
    });
  } catch (error) {
    if (!(error instanceof ControlPlaneError)) throw error;
    throw new UsageError(error.message, { cause: error });
  }
}
