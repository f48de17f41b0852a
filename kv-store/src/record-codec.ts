import { isUtf8 } from "node:buffer";
import { Key, type ContentHash, type KvEntry, type KvOperation } from "./entry.ts";
import { KvError } from "./errors.ts";
import { LIMITS } from "./limits.ts";

// The one byte form of an operation, in the log, on the wire and in the replicas:
//
//   operation = key length (u16) | key (UTF-8) | change length (u32) | change
//   change    = kind (u8: 0 delete, 1 inline, 2 blob)
//               and for a put: expiry in seconds (f64, 0 none) | metadata length (u16) | has metadata (u8)
//                              | metadata (UTF-8) | inline: the value; blob: hash (32) and size (u32)
//
// Numbers are big-endian. A replica stores a put's change as the value of its key.
const KIND_DELETE = 0;
const KIND_INLINE = 1;
const KIND_BLOB = 2;
const KEY_HEAD_BYTES = 2;
const CHANGE_HEAD_BYTES = 4;
const PUT_HEAD_BYTES = 1 + 8 + 2 + 1;
const HASH_BYTES = 32;
const BLOB_BYTES = HASH_BYTES + 4;
const CHANGE_BYTES_MAX = PUT_HEAD_BYTES + LIMITS.metadataBytesMax + LIMITS.inlineValueBytesMax;

/** Bytes of the operation. Nothing of its value is shared with the result. */
export function encodeOperation(operation: KvOperation): Buffer {
  return joinOperation(Buffer.from(operation.key, "utf8"), encodeChange(operation));
}

/** Bytes of the operation that makes this change to this key. Shares nothing with the result. */
export function joinOperation(key: Buffer, change: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(KEY_HEAD_BYTES + key.length + CHANGE_HEAD_BYTES + change.length);
  bytes.writeUInt16BE(key.length, 0);
  key.copy(bytes, KEY_HEAD_BYTES);
  bytes.writeUInt32BE(change.length, KEY_HEAD_BYTES + key.length);
  change.copy(bytes, KEY_HEAD_BYTES + key.length + CHANGE_HEAD_BYTES);
  return bytes;
}

/** Bytes of what the operation leaves at its key. */
export function encodeChange(operation: KvOperation): Buffer {
  if (operation.kind === "delete") return Buffer.of(KIND_DELETE);
  const metadata = Buffer.from(operation.metadata ?? "", "utf8");
  const { value } = operation;
  const valueBytes = value.kind === "inline" ? value.bytes.length : BLOB_BYTES;
  const bytes = Buffer.allocUnsafe(PUT_HEAD_BYTES + metadata.length + valueBytes);
  bytes.writeUInt8(value.kind === "inline" ? KIND_INLINE : KIND_BLOB, 0);
  bytes.writeDoubleBE(operation.expiresAt ?? 0, 1);
  bytes.writeUInt16BE(metadata.length, 9);
  bytes.writeUInt8(operation.metadata === undefined ? 0 : 1, 11);
  metadata.copy(bytes, PUT_HEAD_BYTES);
  const valueStart = PUT_HEAD_BYTES + metadata.length;
  if (value.kind === "inline") {
    bytes.set(value.bytes, valueStart);
  } else {
    bytes.write(value.hash, valueStart, "hex");
    bytes.writeUInt32BE(value.size, valueStart + HASH_BYTES);
  }
  return bytes;
}

/**
 * The operations of a body from outside, in order. Fails with `protocol_violation` when it is cut, has
 * bytes left over, breaks a limit, or holds more than `countMax`. Inline values are views of `body`.
 */
export function decodeOperations(body: Uint8Array, countMax: number): KvOperation[] {
  const bytes = asBuffer(body);
  const operations: KvOperation[] = [];
  let position = 0;
  while (position < bytes.length) {
    if (operations.length >= countMax) throw violation(`more than ${countMax} operations`);
    const key = take(bytes, position + KEY_HEAD_BYTES, readUInt16(bytes, position));
    position += KEY_HEAD_BYTES + key.length;
    const change = take(bytes, position + CHANGE_HEAD_BYTES, readUInt32(bytes, position));
    position += CHANGE_HEAD_BYTES + change.length;
    operations.push(decodeOperation(decodeKey(key), change));
  }
  return operations;
}

function decodeOperation(key: Key, change: Buffer): KvOperation {
  if (change.length > CHANGE_BYTES_MAX) throw violation(`a change of ${change.length} bytes`);
  if (change[0] === KIND_DELETE && change.length === 1) return { kind: "delete", key };
  return { kind: "put", ...decodeEntry(key, change) };
}

/** The entry that a put's change describes. Fails with `protocol_violation`. Its value is a view of `change`. */
export function decodeEntry(key: Key, change: Buffer): KvEntry {
  const head = decodeHead(change);
  const value = change.subarray(head.valueStart);
  return {
    key,
    value:
      head.kind === KIND_INLINE
        ? { kind: "inline", bytes: checkedInline(value) }
        : { kind: "blob", ...decodeBlob(value) },
    ...listingFields(head),
  };
}

/** Metadata and expiry of an entry, without its value. */
export function decodeListing(change: Buffer): Readonly<Pick<KvEntry, "metadata" | "expiresAt">> {
  return listingFields(decodeHead(change));
}

/** When the entry expires, in seconds since the epoch; 0 for never. Reads no more than that. */
export function expiryOf(change: Buffer): number {
  return change.readDoubleBE(1);
}

interface ChangeHead {
  readonly kind: number;
  readonly expiresAt: number;
  readonly metadata: string | undefined;
  readonly valueStart: number;
}

function decodeHead(change: Buffer): ChangeHead {
  if (change.length < PUT_HEAD_BYTES) throw violation(`a change of ${change.length} bytes`);
  const kind = change.readUInt8(0);
  if (kind !== KIND_INLINE && kind !== KIND_BLOB) throw violation(`a change of kind ${kind}`);
  const expiresAt = change.readDoubleBE(1);
  const metadataBytes = change.readUInt16BE(9);
  if (
    !Number.isSafeInteger(expiresAt) ||
    expiresAt < 0 ||
    expiresAt > LIMITS.expirationSecondsMax
  ) {
    throw violation(`an expiry of ${expiresAt}`);
  }
  if (metadataBytes > LIMITS.metadataBytesMax)
    throw violation(`metadata of ${metadataBytes} bytes`);
  const hasMetadata = change.readUInt8(11) === 1;
  const metadata = take(change, PUT_HEAD_BYTES, metadataBytes).toString("utf8");
  return {
    kind,
    expiresAt,
    metadata: hasMetadata ? metadata : undefined,
    valueStart: PUT_HEAD_BYTES + metadataBytes,
  };
}

function listingFields(head: ChangeHead): Pick<KvEntry, "metadata" | "expiresAt"> {
  return {
    ...(head.metadata === undefined ? {} : { metadata: head.metadata }),
    ...(head.expiresAt === 0 ? {} : { expiresAt: head.expiresAt }),
  };
}

function checkedInline(value: Buffer): Buffer {
  if (value.length <= LIMITS.inlineValueBytesMax) return value;
  throw violation(`an inline value of ${value.length} bytes`);
}

function decodeBlob(value: Buffer): { readonly hash: ContentHash; readonly size: number } {
  if (value.length !== BLOB_BYTES) throw violation(`a reference of ${value.length} bytes`);
  const size = value.readUInt32BE(HASH_BYTES);
  if (size === 0 || size > LIMITS.valueBytesMax) throw violation(`a large value of ${size} bytes`);
  return { hash: value.toString("hex", 0, HASH_BYTES), size };
}

/** The key of stored or received bytes. Fails with `protocol_violation` when they are not one. */
export function decodeKey(bytes: Uint8Array): Key {
  // Checked first, because bytes that are not UTF-8 would decode to replacement characters.
  const key = isUtf8(bytes) ? Key.safeParse(asBuffer(bytes).toString("utf8")) : undefined;
  if (key?.success !== true) throw violation(`a key of ${bytes.length} bytes that is not one`);
  return key.data;
}

function readUInt16(bytes: Buffer, position: number): number {
  return take(bytes, position, KEY_HEAD_BYTES).readUInt16BE(0);
}

function readUInt32(bytes: Buffer, position: number): number {
  return take(bytes, position, CHANGE_HEAD_BYTES).readUInt32BE(0);
}

function take(bytes: Buffer, start: number, length: number): Buffer {
  if (start + length > bytes.length) throw violation(`a body cut at ${bytes.length} bytes`);
  return bytes.subarray(start, start + length);
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function violation(what: string): KvError {
  return new KvError("protocol_violation", `operations are malformed: ${what}`);
}
