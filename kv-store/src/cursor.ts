import { KvError } from "./errors.ts";
import { LIMITS } from "./limits.ts";

// Lets a later form of cursors be told from this one.
const FORM = "k1.";

/** A cursor that continues a listing behind `key` (its UTF-8 bytes). */
export function encodeCursor(key: Uint8Array): string {
  return FORM + Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("base64url");
}

/**
 * The key behind which a listing continues, as UTF-8 bytes. Fails with `cursor_invalid` when it is not a
 * cursor, or one of a listing with another prefix.
 */
export function decodeCursor(cursor: string, prefix: Uint8Array): Buffer {
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

/** The smallest bytes above all that start with `prefix`; `undefined` when there are none. */
export function prefixEnd(prefix: Uint8Array): Buffer | undefined {
  // UTF-8 has no byte 0xff, so the last one of a prefix can always be counted up.
  if (prefix.length === 0) return undefined;
  const end = Buffer.from(prefix);
  end[end.length - 1] = (end.at(-1) ?? 0) + 1;
  return end;
}

function startsWith(key: Buffer, prefix: Uint8Array): boolean {
  return key.subarray(0, prefix.length).equals(prefix);
}
