import {
  HeadBucketCommand,
  ListObjectsV2Command,
  S3Client,
  S3ServiceException,
} from "@aws-sdk/client-s3";
import { ControlPlaneError } from "../../errors.ts";
import { LIMITS } from "../../limits.ts";

/** Where blobs are in S3. */
export interface S3Place {
  readonly bucket: string;
  /** Empty, or ends with a slash. */
  readonly prefix: string;
  /** Of another server than Amazon's, which then finds the bucket in the path. */
  readonly endpoint?: string;
  readonly region?: string;
  /** How long a call may stand still; by default `LIMITS.s3SilenceMs`. */
  readonly silenceMs?: number;
  /** By default those of the environment, as for every client of S3. */
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
}

/** What a call addresses. */
interface BucketAddress {
  readonly Bucket: string;
}

/** A bucket and how it fails: whatever is not about one object is `blobs_unavailable`, and says why. */
export class S3Bucket {
  readonly #client: S3Client;
  readonly #place: S3Place;

  constructor(place: S3Place) {
    this.#place = place;
    const { endpoint, region = "us-east-1", credentials } = place;
    const { silenceMs = LIMITS.s3SilenceMs } = place;
    this.#client = new S3Client({
      region,
      ...(endpoint === undefined ? {} : { endpoint, forcePathStyle: true }),
      ...(credentials === undefined ? {} : { credentials }),
      maxAttempts: LIMITS.s3AttemptsMax,
      // What stands still for so long is tried again, and then given up.
      requestHandler: {
        connectionTimeout: LIMITS.s3ConnectMs,
        requestTimeout: silenceMs,
        socketTimeout: silenceMs,
        throwOnRequestTimeout: true,
      },
      // Checksums of Amazon's own that older servers do not know; SHA-256 and MD5 go with each object anyway.
      requestChecksumCalculation: "WHEN_REQUIRED",
      responseChecksumValidation: "WHEN_REQUIRED",
    });
  }

  /**
   * Runs a call about one object. Resolves with `undefined` when the object is not there. Rejected with
   * `blobs_unavailable` when the bucket is not, or can't be reached.
   */
  async call<Result>(
    what: string,
    action: (client: S3Client, address: BucketAddress) => Promise<Result>,
  ): Promise<Result | undefined> {
    try {
      return await action(this.#client, { Bucket: this.#place.bucket });
    } catch (error) {
      if (error instanceof ControlPlaneError) throw error;
      if (!isAbsence(error)) throw this.#unavailable(what, error);
      // `HEAD` has no body that would say which of the two is not there.
      if (error.name !== "NoSuchKey") await this.check(what);
      return undefined;
    }
  }

  /** Rejected with `blobs_unavailable` unless the bucket is there and lets us in. */
  async check(what = "look at it"): Promise<void> {
    try {
      await this.#client.send(new HeadBucketCommand({ Bucket: this.#place.bucket }));
    } catch (error) {
      throw this.#unavailable(what, error);
    }
  }

  /** Whether there is no object whose key begins so. Rejected as `check` is. */
  async isEmpty(prefix: string): Promise<boolean> {
    try {
      const { bucket: Bucket } = this.#place;
      const listing = new ListObjectsV2Command({ Bucket, Prefix: prefix, MaxKeys: 1 });
      return ((await this.#client.send(listing)).Contents ?? []).length === 0;
    } catch (error) {
      throw this.#unavailable("list it", error);
    }
  }

  /** May be called twice. */
  close(): void {
    this.#client.destroy();
  }

  #unavailable(what: string, cause: unknown): ControlPlaneError {
    const { bucket, endpoint } = this.#place;
    const where = endpoint === undefined ? "" : ` at ${endpoint}`;
    return new ControlPlaneError(
      "blobs_unavailable",
      `Could not ${what}: the bucket '${bucket}'${where} ${reasonOf(cause)}. Try again when it is there`,
      { cause },
    );
  }
}

function isAbsence(error: unknown): error is S3ServiceException {
  return (
    error instanceof S3ServiceException && (error.name === "NoSuchKey" || error.name === "NotFound")
  );
}

function reasonOf(cause: unknown): string {
  if (cause instanceof S3ServiceException) {
    if (cause.name === "NoSuchBucket" || cause.name === "NotFound") return "does not exist";
    const status = cause.$metadata.httpStatusCode;
    return `answers ${[cause.name, status].filter(Boolean).join(" ")}`;
  }
  if (!(cause instanceof Error)) return "can't be reached";
  const { code } = cause as NodeJS.ErrnoException;
  return `can't be reached (${code ?? (cause.message || cause.name)})`;
}
