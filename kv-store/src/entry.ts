import { z } from "zod";
import { LIMITS } from "./limits.ts";
import { HistoryPoint, Revision } from "./names.ts";

const InlineBytes = z.custom<Uint8Array>(
  (value) => value instanceof Uint8Array && value.length <= LIMITS.inlineValueBytesMax,
);
const Metadata = z
  .string()
  .refine((json) => Buffer.byteLength(json, "utf8") <= LIMITS.metadataBytesMax);

/** SHA-256 of content, 64 lower-case hexadecimal digits. */
export const ContentHash = z.string().regex(/^[0-9a-f]{64}$/);
export type ContentHash = z.infer<typeof ContentHash>;

/**
 * A value as the log and the replicas hold it: small ones inline, larger ones by the hash of content
 * that lives in a blob store, so that the stream to the nodes stays small.
 */
export const KvValue = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("inline"), bytes: InlineBytes }),
  z.object({
    kind: z.literal("blob"),
    hash: ContentHash,
    size: z.number().int().positive().max(LIMITS.valueBytesMax),
  }),
]);
export type KvValue = z.infer<typeof KvValue>;

/** A key is any non-empty UTF-8 text within the limit, but neither `.` nor `..`. */
export const Key = z
  .string()
  .refine((key) => key !== "" && key !== "." && key !== ".." && isStorable(key))
  .brand<"Key">();
export type Key = z.infer<typeof Key>;

/** What one write does to one key. `expiresAt` is in seconds since the epoch, `metadata` JSON text. */
export const KvOperation = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("put"),
    key: Key,
    value: KvValue,
    metadata: Metadata.optional(),
    expiresAt: z.number().int().positive().max(LIMITS.expirationSecondsMax).optional(),
  }),
  z.object({ kind: z.literal("delete"), key: Key }),
]);
export type KvOperation = z.infer<typeof KvOperation>;

/** What must be true of a key for a write to be made. */
export const KvCondition = z.object({
  key: Key,
  /** Of the write that put what the key holds; 0 for a key that holds nothing. */
  revision: Revision,
});
export type KvCondition = z.infer<typeof KvCondition>;

/** One step of a namespace's history, and the point to which it leads. */
export const KvRecord = HistoryPoint.extend({ operation: KvOperation });
export type KvRecord = z.infer<typeof KvRecord>;

/** What a key holds now. */
export interface KvEntry {
  readonly key: Key;
  readonly value: KvValue;
  readonly metadata?: string;
  readonly expiresAt?: number;
  /** Of the write that put it. Absent where an origin of an older version did not tell it. */
  readonly revision?: Revision;
}

/**
 * The value of an entry that a partial replica holds without it: the origin has it, and it is not over
 * `LIMITS.inlineValueBytesMax`. `digest` is that of the whole entry, value included.
 */
export interface AbsentValue {
  readonly kind: "absent";
  readonly hash: ContentHash;
  readonly size: number;
  readonly digest: Uint8Array;
}

/** What a key holds on a node. */
export type HeldEntry = Readonly<Pick<KvPut, "key" | "metadata" | "expiresAt">> & {
  readonly value: KvValue | AbsentValue;
  /** Of the write that put it. Absent where an origin of an older version did not tell it. */
  readonly revision?: Revision;
};
type KvPut = Extract<KvOperation, { kind: "put" }>;

/** What a node stores of a write, or of a snapshot's entry. */
export type HeldOperation =
  | (HeldEntry & { readonly kind: "put" })
  | Extract<KvOperation, { kind: "delete" }>;

/** One row of a listing: an entry without its value. */
export type KvListing = Omit<KvEntry, "value" | "revision">;

export interface KvPage {
  readonly entries: ReadonlyArray<KvListing>;
  /** Where the next page starts; absent on the last page. */
  readonly cursor?: string;
}

export interface ListOptions {
  readonly prefix: string;
  /** From 1 to `LIMITS.listKeysMax`. */
  readonly limit: number;
  /** As a previous page returned it; rejected with `cursor_invalid` otherwise. */
  readonly cursor?: string;
}

/** Half a surrogate has no UTF-8 form: two such keys would become the same bytes. */
function isStorable(key: string): boolean {
  return key.isWellFormed() && Buffer.byteLength(key, "utf8") <= LIMITS.keyBytesMax;
}
