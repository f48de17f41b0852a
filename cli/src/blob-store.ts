import { Option } from "commander";
import { parseBucket, parseEndpoint, type BucketAddress } from "./options.ts";

/** A bucket for blobs, and the server that has it. */
export interface BlobPlace {
  readonly blobStore: BucketAddress;
  readonly s3Endpoint?: string;
}

export function blobStoreOption(description: string): Option {
  return new Option("--blob-store <s3://bucket/folder>", description)
    .env("ATOLL_BLOB_STORE")
    .argParser(parseBucket);
}

export function s3EndpointOption(): Option {
  return new Option("--s3-endpoint <url>", "another server of S3 than Amazon's")
    .env("ATOLL_S3_ENDPOINT")
    .argParser(parseEndpoint);
}
