import {
  checkValueSize,
  KvError,
  LIMITS as KV_LIMITS,
  parseExpiration,
  parseKey,
  parseMetadata,
  parsePrefix,
  type ExpirationRequest,
  type Key,
  type ListOptions,
} from "@atoll/kv-store";
import { z } from "zod";
import { ControlPlaneError } from "../errors.ts";
import { describeIssue, parseInput } from "../http/body.ts";
import { BoundedJson } from "../http/bounded-json.ts";
import { LIMITS } from "../limits.ts";
import { parseAs } from "./refusal.ts";

/** One key with what it shall hold, checked against every rule of the store. */
export interface EntryWrite {
  readonly key: Key;
  readonly value: Uint8Array<ArrayBuffer>;
  /** JSON text. */
  readonly metadata: string | undefined;
  /** Seconds since the epoch. */
  readonly expiresAt: number | undefined;
}

/** Query of a single write. wrangler sends nothing else. */
export const WriteQuery = z.strictObject({
  expiration: z.string().optional(),
  expiration_ttl: z.string().optional(),
});

export const ListQuery = z.strictObject({
  prefix: z.string().default(""),
  limit: z.string().optional(),
  cursor: z.string().optional(),
});

/** Reads the query of a listing. An empty cursor, which ends the page before, starts anew. */
export function parseListQuery(query: Readonly<Record<string, string>>): ListOptions {
  const { prefix, limit, cursor = "" } = parseInput(ListQuery, query, "query");
  const options = { prefix: parsePrefix(prefix), limit: parseLimit(limit) };
  return cursor === "" ? options : { ...options, cursor };
}

function parseLimit(text: string | undefined): number {
  if (text === undefined) return KV_LIMITS.listKeysMax;
  const limit = /^\d{1,6}$/.test(text) ? Number(text) : Number.NaN;
  if (limit >= LIMITS.kvListKeysMin && limit <= KV_LIMITS.listKeysMax) return limit;
  throw new ControlPlaneError(
    "kv_limit_invalid",
    `Invalid limit of ${text.slice(0, 40)}. Please specify an integer from ${LIMITS.kvListKeysMin} to ${KV_LIMITS.listKeysMax}.`,
  );
}

/** A key as a path gives it, percent-encoded. */
export function parseEncodedKey(encoded: string): Key {
  return parseKey(decode(encoded));
}

function decode(encoded: string): string {
  try {
    return decodeURIComponent(encoded);
  } catch (cause) {
    const shown = encoded.slice(0, 100);
    const message = `The key '${shown}' is not percent-encoded UTF-8`;
    throw new ControlPlaneError("kv_key_invalid", message, { cause });
  }
}

/** When a key expires. A time to live that is refused has a code of its own in the API. */
export function parseEntryExpiration(
  request: ExpirationRequest,
  nowMs: number,
): number | undefined {
  try {
    return parseExpiration(request, nowMs);
  } catch (error) {
    if (!(error instanceof KvError) || request.expirationTtl == null) throw error;
    throw new ControlPlaneError("kv_expiration_ttl_invalid", error.message, { cause: error });
  }
}

// Unknown fields are ignored: wrangler warns of them itself and sends them all the same.
export const BulkEntry = z.object({
  key: z.string(),
  value: z.string(),
  base64: z.boolean().optional(),
  expiration: z.number().nullish(),
  expiration_ttl: z.number().nullish(),
  metadata: BoundedJson.optional(),
});
type BulkEntry = z.infer<typeof BulkEntry>;

export const BulkKey = z.string("a key is a text");

/** Reads the body of a bulk write: either every entry is right, or the first wrong one is named. */
export function parseBulkWrite(body: string, nowMs: number): ReadonlyArray<EntryWrite> {
  return parseBulk(body, (item, index) => {
    const parsed = BulkEntry.safeParse(item);
    if (!parsed.success) {
      throw new ControlPlaneError("kv_bulk_invalid", describeIssue(parsed.error, `entry ${index}`));
    }
    const subject = `entry ${index} (key '${parsed.data.key.slice(0, 100)}')`;
    return parseAs(subject, () => parseBulkEntry(parsed.data, nowMs));
  });
}

/** Reads the body of a bulk delete. */
export function parseBulkDelete(body: string): ReadonlyArray<Key> {
  return parseBulk(body, (item, index) => {
    const parsed = BulkKey.safeParse(item);
    if (!parsed.success) {
      throw new ControlPlaneError("kv_bulk_invalid", describeIssue(parsed.error, `entry ${index}`));
    }
    return parseAs(`entry ${index}`, () => parseKey(parsed.data));
  });
}

function parseBulk<Item>(
  body: string,
  parseItem: (item: unknown, index: number) => Item,
): ReadonlyArray<Item> {
  let items: unknown;
  try {
    items = JSON.parse(body);
  } catch (cause) {
    throw new ControlPlaneError("kv_bulk_invalid", "The bulk call's body is not JSON", { cause });
  }
  if (!Array.isArray(items)) {
    throw new ControlPlaneError("kv_bulk_invalid", "The bulk call's body is not a JSON array");
  }
  if (items.length > KV_LIMITS.bulkWriteKeysMax) {
    throw new ControlPlaneError(
      "kv_bulk_too_large",
      `The bulk call has ${items.length} entries, over the limit of ${KV_LIMITS.bulkWriteKeysMax}`,
    );
  }
  return items.map(parseItem);
}

function parseBulkEntry(entry: BulkEntry, nowMs: number): EntryWrite {
  const key = parseKey(entry.key);
  const value = entry.base64 === true ? decodeBase64(entry.value) : encodeText(entry.value);
  checkValueSize(value.length);
  const { expiration, expiration_ttl: expirationTtl, metadata } = entry;
  return {
    key,
    value,
    metadata: metadata === undefined ? undefined : parseMetadata(JSON.stringify(metadata)),
    expiresAt: parseEntryExpiration({ expiration, expirationTtl }, nowMs),
  };
}

function encodeText(text: string): Uint8Array<ArrayBuffer> {
  if (text.isWellFormed()) return Buffer.from(text, "utf8");
  throw new ControlPlaneError("kv_value_invalid", "The value is not valid UTF-8 text");
}

function decodeBase64(text: string): Uint8Array<ArrayBuffer> {
  const bytes = Buffer.from(text, "base64");
  // Node skips what is not base64, which would store something else than was meant.
  const isExact = bytes.toString("base64").replace(/=+$/, "") === text.replace(/=+$/, "");
  if (isExact) return bytes;
  throw new ControlPlaneError("kv_value_invalid", "The value is announced as base64 and is not");
}
