export interface Link {
  readonly url: string;
  readonly expiresInSeconds?: number;
}

export interface LinkMetadata {
  readonly createdAt: string;
}

const URL_LENGTH_MAX = 2_000;
// What Workers KV asks of an expiry.
const EXPIRES_IN_SECONDS_MIN = 60;

/** A slug is one path segment of letters, digits, `-` and `_`. */
export function parseSlug(text: string): string | undefined {
  return /^[A-Za-z0-9_-]{1,64}$/.test(text) ? text : undefined;
}

/** The target and expiry in what a client sent, or what is wrong with it. */
export function parseLink(body: unknown): Link | { readonly problem: string } {
  if (typeof body !== "object" || body === null) return { problem: "expected a JSON object" };
  const { url, expiresInSeconds } = body as Record<string, unknown>;
  if (typeof url !== "string" || url.length > URL_LENGTH_MAX || !isWebAddress(url)) {
    return {
      problem: `url must be an http or https address of at most ${URL_LENGTH_MAX} characters`,
    };
  }
  if (expiresInSeconds === undefined) return { url };
  if (
    !Number.isSafeInteger(expiresInSeconds) ||
    Number(expiresInSeconds) < EXPIRES_IN_SECONDS_MIN
  ) {
    return { problem: `expiresInSeconds must be a whole number from ${EXPIRES_IN_SECONDS_MIN} on` };
  }
  return { url, expiresInSeconds: Number(expiresInSeconds) };
}

function isWebAddress(text: string): boolean {
  const protocol = URL.parse(text)?.protocol;
  return protocol === "http:" || protocol === "https:";
}
