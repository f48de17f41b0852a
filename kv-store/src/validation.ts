import type { Key } from "./entry.ts";
import { KvError } from "./errors.ts";
import { LIMITS } from "./limits.ts";

// The sentences follow Workers KV's own, because workers and their tests match on them.

/** A key as a caller wrote it. Fails with `key_invalid` or `key_too_long`. */
export function parseKey(text: string): Key {
  if (text === "") throw new KvError("key_invalid", "Key names must not be empty");
  if (text === "." || text === "..") {
    throw new KvError("key_invalid", `Illegal key name "${text}". Please use a different name.`);
  }
  // All that `Key` wants, which costs more when it is asked itself: each read has a key.
  return parsePrefix(text) as Key;
}

/** A prefix of keys, which may be empty. Fails with `key_invalid` or `key_too_long`. */
export function parsePrefix(text: string): string {
  if (!text.isWellFormed()) {
    throw new KvError(
      "key_invalid",
      "Key names must be valid UTF-8; this one has half a surrogate",
    );
  }
  const bytes = Buffer.byteLength(text, "utf8");
  if (bytes > LIMITS.keyBytesMax) {
    throw new KvError(
      "key_too_long",
      `UTF-8 encoded length of ${bytes} exceeds key length limit of ${LIMITS.keyBytesMax}.`,
    );
  }
  return text;
}

/** The JSON text of a key's metadata, unchanged. Fails with `metadata_invalid` or `metadata_too_large`. */
export function parseMetadata(json: string): string {
  const bytes = Buffer.byteLength(json, "utf8");
  if (bytes > LIMITS.metadataBytesMax) {
    throw new KvError(
      "metadata_too_large",
      `Metadata length of ${bytes} exceeds limit of ${LIMITS.metadataBytesMax}.`,
    );
  }
  try {
    JSON.parse(json);
  } catch (cause) {
    throw new KvError("metadata_invalid", "Metadata must be valid JSON.", { cause });
  }
  return json;
}

/** Both ways to say when a key expires, as text or number; with both, `expirationTtl` counts. */
export interface ExpirationRequest {
  /** Seconds since the epoch. */
  readonly expiration?: string | number | null | undefined;
  /** Seconds from now. */
  readonly expirationTtl?: string | number | null | undefined;
}

/** When a key expires, in seconds since the epoch; `undefined` for never. Fails with `expiration_invalid`. */
export function parseExpiration(request: ExpirationRequest, nowMs: number): number | undefined {
  const nowSeconds = Math.floor(nowMs / 1_000);
  const { expiration, expirationTtl } = request;
  if (expirationTtl != null) return nowSeconds + parseTtl(expirationTtl, nowSeconds);
  if (expiration == null) return undefined;
  const seconds = parseInteger(expiration);
  if (seconds === undefined || seconds <= nowSeconds || seconds > LIMITS.expirationSecondsMax) {
    throw expirationError(
      `Invalid expiration of ${expiration}. Please specify integer greater than the current number of seconds since the UNIX epoch.`,
    );
  }
  if (seconds < nowSeconds + LIMITS.expirationTtlSecondsMin) {
    throw expirationError(
      `Invalid expiration of ${expiration}. Expiration times must be at least ${LIMITS.expirationTtlSecondsMin} seconds in the future.`,
    );
  }
  return seconds;
}

function parseTtl(ttl: string | number, nowSeconds: number): number {
  const seconds = parseInteger(ttl);
  if (seconds === undefined || seconds <= 0) {
    throw expirationError(
      `Invalid expiration_ttl of ${ttl}. Please specify integer greater than 0.`,
    );
  }
  // What it leads to counts: nobody could read a record that expires later.
  const secondsMax = LIMITS.expirationSecondsMax - nowSeconds;
  if (seconds > secondsMax) {
    throw expirationError(
      `Invalid expiration_ttl of ${ttl}. Expiration TTL must be at most ${secondsMax}.`,
    );
  }
  if (seconds < LIMITS.expirationTtlSecondsMin) {
    throw expirationError(
      `Invalid expiration_ttl of ${ttl}. Expiration TTL must be at least ${LIMITS.expirationTtlSecondsMin}.`,
    );
  }
  return seconds;
}

function expirationError(message: string): KvError {
  return new KvError("expiration_invalid", message);
}

/** Fails with `value_too_large` when a value of this size can't be stored. */
export function checkValueSize(bytes: number): void {
  if (bytes <= LIMITS.valueBytesMax) return;
  throw new KvError(
    "value_too_large",
    `Value length of ${bytes} exceeds limit of ${LIMITS.valueBytesMax}.`,
  );
}

/** The size of a listing's page; all of it when absent. Fails with `limit_invalid`. */
export function parseListLimit(limit: string | number | null | undefined): number {
  if (limit == null) return LIMITS.listKeysMax;
  const count = parseInteger(limit);
  if (count === undefined || count < 1) {
    throw limitError(limit, "greater than 0");
  }
  if (count > LIMITS.listKeysMax) throw limitError(limit, `less than ${LIMITS.listKeysMax}`);
  return count;
}

function limitError(limit: string | number, rule: string): KvError {
  return new KvError(
    "limit_invalid",
    `Invalid key_count_limit of ${limit}. Please specify an integer ${rule}.`,
  );
}

/** Fails with `cache_ttl_invalid` when the binding's `cacheTtl` would be refused by Workers KV. */
export function checkCacheTtl(cacheTtl: string | number): void {
  const seconds = parseInteger(cacheTtl);
  if (seconds !== undefined && seconds >= LIMITS.cacheTtlSecondsMin) return;
  throw new KvError(
    "cache_ttl_invalid",
    `Invalid cache_ttl of ${cacheTtl}. Cache TTL must be at least ${LIMITS.cacheTtlSecondsMin}.`,
  );
}

/** An integer as a number or in plain decimal digits; nothing else counts as one. */
function parseInteger(value: string | number): number | undefined {
  if (typeof value === "string" && !/^-?\d{1,15}$/.test(value)) return undefined;
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : undefined;
}
