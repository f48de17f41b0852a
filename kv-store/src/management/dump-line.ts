import { isUtf8 } from "node:buffer";
import { z } from "zod";
import type { Key } from "../entry.ts";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { NamespaceId, Revision } from "../names.ts";
import { checkValueSize, parseKey, parseMetadata } from "../validation.ts";

// The format is for people and other programs, too: `docs/kv-operations.md` describes it.

/** An entry with its value at hand, as a line of a dump has it. */
export interface DumpedEntry {
  readonly key: Key;
  readonly value: Uint8Array<ArrayBuffer>;
  /** JSON text, exactly as it was written. */
  readonly metadata?: string;
  /** Seconds since the epoch. */
  readonly expiresAt?: number;
}

/** The first line of a dump that has a last one: what it was made of. */
const DumpHead = z.strictObject({
  atoll: z.literal("kv-dump"),
  version: z.literal(1),
  namespace: NamespaceId,
  /** The state is as of this revision, and of this moment. */
  revision: Revision,
  at: z.iso.datetime(),
});
export type DumpHead = z.infer<typeof DumpHead>;

/** The last line: without it a dump was cut. */
const DumpEnd = z.strictObject({ end: z.literal(true), entries: z.int().nonnegative() });
export type DumpEnd = z.infer<typeof DumpEnd>;

const EntryLine = z.strictObject({
  key: z.string(),
  /** The value if it is text. */
  value: z.string().exactOptional(),
  /** The value in base64 if it is not, or if that is shorter. */
  base64: z.string().exactOptional(),
  metadata: z.string().exactOptional(),
  expiration: z.int().positive().max(LIMITS.expirationSecondsMax).exactOptional(),
});

export type DumpLine =
  | { readonly kind: "head"; readonly head: DumpHead }
  | { readonly kind: "entry"; readonly entry: DumpedEntry }
  | { readonly kind: "end"; readonly end: DumpEnd };

/** One line of JSON, without its line break. */
export function dumpLine(line: DumpedEntry | DumpHead | DumpEnd): string {
  if (!("key" in line)) return JSON.stringify(line);
  const { key, value, metadata, expiresAt } = line;
  return JSON.stringify({
    key,
    ...presentValue(value),
    ...(metadata === undefined ? {} : { metadata }),
    ...(expiresAt === undefined ? {} : { expiration: expiresAt }),
  });
}

/** Text stays text, unless so much of it has to be escaped that base64 is shorter by far. */
function presentValue(bytes: Uint8Array): { readonly value: string } | { readonly base64: string } {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const text = isUtf8(buffer) ? buffer.toString("utf8") : undefined;
  const isPlain = text !== undefined && JSON.stringify(text).length <= 2 * bytes.length + 2;
  return isPlain ? { value: text } : { base64: buffer.toString("base64") };
}

/** Reads a line. Fails with `import_invalid`, which names the rule that it breaks. */
export function parseDumpLine(line: string): DumpLine {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch (cause) {
    throw invalid(line.trim() === "" ? "it is empty" : "it is not JSON", cause);
  }
  if (isObjectWith(json, "atoll")) return { kind: "head", head: parse(DumpHead, json) };
  if (isObjectWith(json, "end")) return { kind: "end", end: parse(DumpEnd, json) };
  return { kind: "entry", entry: parseEntry(json) };
}

function parseEntry(json: unknown): DumpedEntry {
  const { key, value, base64, metadata, expiration } = parse(EntryLine, json);
  if ((value === undefined) === (base64 === undefined)) {
    throw invalid("it needs either 'value' or 'base64'");
  }
  try {
    const bytes = value === undefined ? decodeBase64(base64 ?? "") : encodeText(value);
    checkValueSize(bytes.length);
    return {
      key: parseKey(key),
      value: bytes,
      ...(metadata === undefined ? {} : { metadata: parseMetadata(metadata) }),
      ...(expiration === undefined ? {} : { expiresAt: expiration }),
    };
  } catch (cause) {
    if (cause instanceof KvError) throw invalid(cause.message, cause);
    throw cause;
  }
}

function encodeText(text: string): Buffer<ArrayBuffer> {
  if (text.isWellFormed()) return Buffer.from(text, "utf8");
  throw invalid("value: it has half a surrogate, which is no text");
}

function decodeBase64(text: string): Buffer<ArrayBuffer> {
  const bytes = Buffer.from(text, "base64");
  // Node skips what is not base64, which would store something else than was meant.
  if (bytes.toString("base64") === text) return bytes;
  throw invalid("base64: it is not base64 with padding");
}

function parse<Schema extends z.ZodType>(schema: Schema, json: unknown): z.output<Schema> {
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const path = issue?.path.map(String).join(".") ?? "";
  throw invalid(`${path === "" ? "" : `${path}: `}${issue?.message ?? "not of the format"}`);
}

function isObjectWith(json: unknown, field: string): boolean {
  return typeof json === "object" && json !== null && Object.hasOwn(json, field);
}

function invalid(rule: string, cause?: unknown): KvError {
  return new KvError("import_invalid", rule, { cause });
}
