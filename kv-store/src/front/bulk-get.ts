import { z } from "zod";
import type { HeldEntry, Key } from "../entry.ts";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { checkCacheTtl, parseKey } from "../validation.ts";

// A newer runtime may send more fields; those that are unknown here can't change what is read.
const BulkGetBody = z.object({
  keys: z.array(z.string()),
  type: z.string().optional(),
  withMetadata: z.boolean().optional(),
  cacheTtl: z.union([z.number(), z.string()]).optional(),
});

export interface BulkGet {
  readonly keys: ReadonlyArray<Key>;
  readonly type: "text" | "json";
  readonly withMetadata: boolean;
}

/** Parses the body of a bulk read. Fails with `bulk_invalid`, or with what is wrong with a key. */
export function parseBulkGet(body: string): BulkGet {
  const { keys, type = "text", withMetadata = false, cacheTtl } = parseBody(body);
  if (type !== "text" && type !== "json") {
    throw invalid(`"${type.slice(0, 40)}" is not a valid type. Use "json" or "text"`);
  }
  if (keys.length > LIMITS.bulkGetKeysMax) {
    throw invalid(`You can request a maximum of ${LIMITS.bulkGetKeysMax} keys`);
  }
  if (keys.length === 0) throw invalid("You must request a minimum of 1 key");
  if (cacheTtl !== undefined) checkCacheTtl(cacheTtl);
  return { keys: keys.map(parseKey), type, withMetadata };
}

function parseBody(body: string): z.infer<typeof BulkGetBody> {
  try {
    return BulkGetBody.parse(JSON.parse(body));
  } catch (cause) {
    throw new KvError("bulk_invalid", "The body of a bulk read is malformed", { cause });
  }
}

/** Fails with `bulk_too_large` when the entries' values are more than one answer may hold. */
export function checkBulkSize(entries: Iterable<HeldEntry | undefined>): void {
  let bytes = 0;
  for (const entry of entries) bytes += entry === undefined ? 0 : valueBytes(entry);
  if (bytes <= LIMITS.bulkGetBytesMax) return;
  const limit = LIMITS.bulkGetBytesMax / 1024 / 1024;
  throw new KvError("bulk_too_large", `Total size of request exceeds the limit of ${limit}MB`);
}

/** What stands for one key in the answer. Fails with `bulk_invalid` when a value should be JSON and is not. */
export function bulkResult(bulk: BulkGet, value: Buffer, metadata: string | undefined): unknown {
  const text = value.toString("utf8");
  const result: unknown = bulk.type === "json" ? parseJson(text) : text;
  if (!bulk.withMetadata) return result;
  return { value: result, metadata: metadata === undefined ? null : JSON.parse(metadata) };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const message = "At least one of the requested keys corresponds to a non-json value";
    throw new KvError("bulk_invalid", message, { cause });
  }
}

function valueBytes({ value }: HeldEntry): number {
  return value.kind === "inline" ? value.bytes.length : value.size;
}

function invalid(message: string): KvError {
  return new KvError("bulk_invalid", message);
}
