import { isUtf8 } from "node:buffer";
import type {
  Key,
  AbsentValue,
  ContentHash,
  HeldEntry,
  HeldOperation,
  KvListing,
  KvOperation,
  KvValue,
} from "./entry.ts";
import { KvError } from "./errors.ts";
import { LIMITS } from "./limits.ts";
import { ENTRY_DIGEST_BYTES } from "./state-digest.ts";

// The one byte form of an operation, in the log, on the wire and in the replicas:
//
//   operation = key length (u16) | key (UTF-8) | change length (u32) | change
//   change    = kind (u8: 0 delete, 1 inline, 2 blob, 3 absent)
//               and for a put: expiry in seconds (f64, 0 none) | metadata length (u16) | has metadata (u8)
//                              | metadata (UTF-8) | inline: the value; blob: hash (32) and size (u32);
//                                absent: hash, size, and the digest (16) of the entry with its value
//
// Numbers are big-endian. A replica stores a put's change as the value of its key. What is absent is only in
// partial replicas and in the snapshots for them: the log and the origin have every value.
const KIND_DELETE = 0;
const KIND_INLINE = 1;
const KIND_BLOB = 2;
const KIND_ABSENT = 3;
const KEY_HEAD_BYTES = 2;
const CHANGE_HEAD_BYTES = 4;
const PUT_HEAD_BYTES = 1 + 8 + 2 + 1;
const HASH_BYTES = 32;
const BLOB_BYTES = HASH_BYTES + 4;
const ABSENT_BYTES = BLOB_BYTES + ENTRY_DIGEST_BYTES;
const CHANGE_BYTES_MAX = PUT_HEAD_BYTES + LIMITS.metadataBytesMax + LIMITS.inlineValueBytesMax;

const KINDS = {
  inline: KIND_INLINE,
  blob: KIND_BLOB,
  absent: KIND_ABSENT,
} as const satisfies Record<HeldEntry["value"]["kind"], number>;
const REFERENCE_BYTES = { blob: BLOB_BYTES, absent: ABSENT_BYTES } as const;

/** Bytes of the operation. Nothing of its value is shared with the result. */
export function encodeOperation(operation: HeldOperation): Buffer {
  const keyBytes = Buffer.byteLength(operation.key, "utf8");
  const changeStart = KEY_HEAD_BYTES + keyBytes + CHANGE_HEAD_BYTES;
  const changeBytes = changeBytesOf(operation);
  const bytes = Buffer.allocUnsafe(changeStart + changeBytes);
  bytes.writeUInt16BE(keyBytes, 0);
  bytes.write(operation.key, KEY_HEAD_BYTES, "utf8");
  bytes.writeUInt32BE(changeBytes, KEY_HEAD_BYTES + keyBytes);
  writeChange(operation, bytes, changeStart);
  return bytes;
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
export function encodeChange(operation: HeldOperation): Buffer {
  const bytes = Buffer.allocUnsafe(changeBytesOf(operation));
  writeChange(operation, bytes, 0);
  return bytes;
}

function changeBytesOf(operation: HeldOperation): number {
  if (operation.kind === "delete") return 1;
  const { metadata = "", value } = operation;
  const valueBytes = value.kind === "inline" ? value.bytes.length : REFERENCE_BYTES[value.kind];
  return PUT_HEAD_BYTES + Buffer.byteLength(metadata, "utf8") + valueBytes;
}

function writeChange(operation: HeldOperation, bytes: Buffer, start: number): void {
  if (operation.kind === "delete") {
    bytes[start] = KIND_DELETE;
    return;
  }
  const { expiresAt = 0, metadata = "", value } = operation;
  const metadataBytes = bytes.write(metadata, start + PUT_HEAD_BYTES, "utf8");
  bytes[start] = KINDS[value.kind];
  bytes.writeDoubleBE(expiresAt, start + 1);
  bytes.writeUInt16BE(metadataBytes, start + 9);
  bytes[start + 11] = operation.metadata === undefined ? 0 : 1;
  const valueStart = start + PUT_HEAD_BYTES + metadataBytes;
  if (value.kind === "inline") {
    bytes.set(value.bytes, valueStart);
  } else {
    bytes.write(value.hash, valueStart, "hex");
    bytes.writeUInt32BE(value.size, valueStart + HASH_BYTES);
    if (value.kind === "absent") bytes.set(value.digest, valueStart + BLOB_BYTES);
  }
}

/**
 * The operations of a body from outside, in order. Fails with `protocol_violation` when it is cut, has
 * bytes left over, breaks a limit, or holds more than `countMax`. Inline values are views of `body`.
 */
export function decodeOperations(body: Uint8Array, countMax: number): KvOperation[] {
  const operations = decodeHeldOperations(body, countMax);
  if (operations.every(isWhole)) return operations;
  throw violation("a value is absent");
}

function isWhole(operation: HeldOperation): operation is KvOperation {
  return operation.kind === "delete" || operation.value.kind !== "absent";
}

/** The same of a body in which values may be absent. */
export function decodeHeldOperations(body: Uint8Array, countMax: number): HeldOperation[] {
  const bytes = asBuffer(body);
  const operations: HeldOperation[] = [];
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

function decodeOperation(key: Key, change: Buffer): HeldOperation {
  if (change.length > CHANGE_BYTES_MAX) throw violation(`a change of ${change.length} bytes`);
  if (change[0] === KIND_DELETE && change.length === 1) return { kind: "delete", key };
  return { kind: "put", ...decodeEntry(key, change) };
}

/** The entry that a put's change describes. Fails with `protocol_violation`. Its value is a view of `change`. */
export function decodeEntry(key: Key, change: Buffer): HeldEntry {
  const head = decodeHead(change);
  return {
    key,
    value: decodeValue(head.kind, change.subarray(head.valueStart)),
    ...listingFields(head),
  };
}

function decodeValue(kind: number, value: Buffer): KvValue | AbsentValue {
  if (kind === KIND_INLINE) return { kind: "inline", bytes: checkedInline(value) };
  if (kind === KIND_BLOB) return { kind: "blob", ...decodeBlob(value, LIMITS.valueBytesMax) };
  if (value.length !== ABSENT_BYTES) throw violation(`a reference of ${value.length} bytes`);
  const blob = decodeBlob(value.subarray(0, BLOB_BYTES), LIMITS.inlineValueBytesMax);
  return { kind: "absent", ...blob, digest: value.subarray(BLOB_BYTES) };
}

/** The entry that a put's change describes, without its value. */
export function decodeListing(key: Key, change: Buffer): KvListing {
  const { expiresAt, metadata } = decodeHead(change);
  // Most entries are such, and a listing is of a thousand.
  if (metadata === undefined && expiresAt === 0) return { key };
  return { key, ...listingFields({ expiresAt, metadata }) };
}

/** When the entry expires, in seconds since the epoch; 0 for never. Reads no more than that. */
export function expiryOf(change: Buffer): number {
  return change.readDoubleBE(1);
}

/** How many bytes of value a put's change has in it, and how many it only refers to as absent. */
export function valueBytesOf(change: Buffer): { readonly inline: number; readonly absent: number } {
  const kind = change[0];
  const valueStart = PUT_HEAD_BYTES + change.readUInt16BE(9);
  if (kind === KIND_INLINE) return { inline: change.length - valueStart, absent: 0 };
  const isAbsent = kind === KIND_ABSENT;
  return { inline: 0, absent: isAbsent ? change.readUInt32BE(valueStart + HASH_BYTES) : 0 };
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
  if (kind < KIND_INLINE || kind > KIND_ABSENT) throw violation(`a change of kind ${kind}`);
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
  const valueStart = PUT_HEAD_BYTES + metadataBytes;
  if (valueStart > change.length) throw violation(`a body cut at ${change.length} bytes`);
  const hasMetadata = change.readUInt8(11) === 1;
  // Without a view of its own: most entries have none, and a listing is of a thousand.
  const metadata = hasMetadata ? change.toString("utf8", PUT_HEAD_BYTES, valueStart) : undefined;
  return { kind, expiresAt, metadata, valueStart };
}

function listingFields(head: Pick<ChangeHead, "metadata" | "expiresAt">): Omit<KvListing, "key"> {
  return {
    ...(head.metadata === undefined ? {} : { metadata: head.metadata }),
    ...(head.expiresAt === 0 ? {} : { expiresAt: head.expiresAt }),
  };
}

function checkedInline(value: Buffer): Buffer {
  if (value.length <= LIMITS.inlineValueBytesMax) return value;
  throw violation(`an inline value of ${value.length} bytes`);
}

function decodeBlob(
  value: Buffer,
  sizeMax: number,
): { readonly hash: ContentHash; readonly size: number } {
  if (value.length !== BLOB_BYTES) throw violation(`a reference of ${value.length} bytes`);
  const size = value.readUInt32BE(HASH_BYTES);
  if (size === 0 || size > sizeMax) throw violation(`a large value of ${size} bytes`);
  return { hash: value.toString("hex", 0, HASH_BYTES), size };
}

/** The key of stored or received bytes. Fails with `protocol_violation` when they are not one. */
export function decodeKey(bytes: Uint8Array): Key {
  // Checked first, because bytes that are not UTF-8 would decode to replacement characters.
  const key = isUtf8(bytes) ? asBuffer(bytes).toString("utf8") : "";
  // All that `Key` wants, of which UTF-8 is a part: that would cost more than the rest of an operation.
  const isKey = bytes.length <= LIMITS.keyBytesMax && key !== "" && key !== "." && key !== "..";
  if (!isKey) throw violation(`a key of ${bytes.length} bytes that is not one`);
  return key as Key;
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
