import assert from "node:assert/strict";
import { setImmediate as nextTurn } from "node:timers/promises";
import { Packr } from "msgpackr";
import type { z } from "zod";

// Plain maps instead of msgpackr's own record extension: any MessagePack reader can follow the link.
const packr = new Packr({ useRecords: false });

/** Largest message of the link in bytes: a snapshot of thousands of workers, with room to spare. */
export const WIRE_MESSAGE_BYTES_MAX = 64 * 1024 * 1024;

/** Encodes a message of the fleet's link as MessagePack; byte arrays stay bytes. */
export function encodeMessage(message: unknown): Uint8Array<ArrayBuffer> {
  return new Uint8Array(packr.pack(message));
}

/**
 * The same of a message with a long list: piece by piece, between which all else has its turn. The list is the last
 * field, and `toWire` makes each of its items.
 */
export async function encodeLongMessage<Item>(
  head: Readonly<Record<string, unknown>>,
  list: {
    readonly name: string;
    readonly items: ReadonlyArray<Item>;
    readonly toWire: (item: Item) => unknown;
    readonly pieceItems: number;
  },
): Promise<Uint8Array<ArrayBuffer>> {
  const { items, toWire, pieceItems } = list;
  const fields = Object.entries(head);
  const parts: Uint8Array[] = [mapHead(fields.length + 1)];
  for (const field of fields) parts.push(...field.map(encodeMessage));
  parts.push(encodeMessage(list.name), arrayHead(items.length));
  for (let start = 0; start < items.length; start += pieceItems) {
    for (const item of items.slice(start, start + pieceItems)) {
      parts.push(encodeMessage(toWire(item)));
    }
    await nextTurn();
  }
  return Buffer.concat(parts);
}

/** MessagePack's `fixmap`. */
function mapHead(fields: number): Uint8Array {
  assert(fields < 16, "a message has few fields");
  return Uint8Array.of(0x80 | fields);
}

/** MessagePack's `array 32`. */
function arrayHead(items: number): Uint8Array {
  const head = Buffer.alloc(5);
  head.writeUInt8(0xdd);
  head.writeUInt32BE(items, 1);
  return head;
}

/** Decodes and parses a received message. Throws when it is not MessagePack or not of the schema. */
export function decodeMessage<Schema extends z.ZodType>(
  schema: Schema,
  bytes: Uint8Array,
): z.output<Schema> {
  return schema.parse(packr.unpack(bytes));
}
