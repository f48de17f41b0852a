interface ErrorKind {
  /** What an API answers that was given the manifest. */
  readonly status: number;
  /** The same call, unchanged, may succeed later. */
  readonly retryable: boolean;
  readonly meaning: string;
}

/** Every code that this package reports. */
export const SITE_ERRORS = {
  asset_path_invalid: {
    status: 400,
    retryable: false,
    meaning: "a file's path in a manifest can't be a path of a file",
  },
  asset_path_conflict: {
    status: 400,
    retryable: false,
    meaning: "two paths of a manifest need the same name, as a file twice or as file and directory",
  },
  asset_count_exceeded: {
    status: 413,
    retryable: false,
    meaning: "a manifest names more files than LIMITS.filesMax",
  },
  asset_blob_unusable: {
    status: 503,
    retryable: true,
    meaning: "a file's content is not on this machine, or not of the size that the manifest states",
  },
} as const satisfies Record<string, ErrorKind>;

export type SiteErrorCode = keyof typeof SITE_ERRORS;

/** The one error class of this package. Decisions read `code`, never the message. */
export class SiteError extends Error {
  readonly code: SiteErrorCode;

  constructor(code: SiteErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "SiteError";
    this.code = code;
  }

  /** What a client sees, and whether it may try again. */
  get kind(): ErrorKind {
    return SITE_ERRORS[this.code];
  }
}
