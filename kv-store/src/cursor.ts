import type { ListOptions } from "./entry.ts";
import { KvError } from "./errors.ts";
import { LIMITS } from "./limits.ts";

// Lets a later form of cursors be told from this one.
const FORM = "k1.";

/** A cursor that continues a listing behind `key` (its UTF-8 bytes). */
export function encodeCursor(key: Uint8Array): string {
  return FORM + Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("base64url");
}

function decodeCursor(cursor: string, prefix: Uint8Array): Buffer {
  const key = cursor.length <= LIMITS.cursorCharactersMax ? decode(cursor) : undefined;
  if (key === undefined || !startsWith(key, prefix)) {
    const shown = cursor.length > 40 ? `${cursor.slice(0, 40)}…` : cursor;
    throw new KvError("cursor_invalid", `Invalid cursor ${JSON.stringify(shown)}.`);
  }
  return key;
}

function decode(cursor: string): Buffer | undefined {
  if (!cursor.startsWith(FORM)) return undefined;
  const text = cursor.slice(FORM.length);
  const key = Buffer.from(text, "base64url");
  // Node skips what is not base64: encoding again shows whether all of it was.
  const isExact = key.length > 0 && key.toString("base64url") === text;
  return isExact && key.length <= LIMITS.keyBytesMax ? key : undefined;
}

/** Bytes of keys from `start` up to but without `end`. */
export interface KeyRange {
  readonly start: Buffer;
  readonly end: Buffer;
}

/** What is left of a listing: the keys with its prefix, behind its cursor. Fails with `cursor_invalid`. */
export function listRange(options: Pick<ListOptions, "prefix" | "cursor">): KeyRange {
  const prefix = Buffer.from(options.prefix, "utf8");
  // No key lies between one and itself followed by a zero byte.
  const start =
    options.cursor === undefined
      ? prefix
      : Buffer.concat([decodeCursor(options.cursor, prefix), Buffer.of(0)]);
  return { start, end: prefixEnd(prefix) };
}

/** The smallest bytes above every key that starts with `prefix`. */
function prefixEnd(prefix: Uint8Array): Buffer {
  // UTF-8 has no byte 0xff: it is above all keys, and the last byte of a prefix can be counted up.
  if (prefix.length === 0) return Buffer.of(0xff);
  const end = Buffer.from(prefix);
  end[end.length - 1] = (end.at(-1) ?? 0) + 1;
  return end;
}

function startsWith(key: Buffer, prefix: Uint8Array): boolean {
  return key.subarray(0, prefix.length).equals(prefix);
}
