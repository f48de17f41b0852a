import { Packr } from "msgpackr";
import type { z } from "zod";

// Plain maps instead of msgpackr's own record extension: any MessagePack reader can follow the link.
const packr = new Packr({ useRecords: false });

/** Largest message of the link in bytes: a snapshot of thousands of workers, with room to spare. */
export const WIRE_MESSAGE_BYTES_MAX = 64 * 1024 * 1024;

/** Encodes a message of the fleet's link as MessagePack; byte arrays stay bytes. */
export function encodeMessage(message: unknown): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(packr.pack(message));
}

/** Decodes and parses a received message. Throws when it is not MessagePack or not of the schema. */
export function decodeMessage<Schema extends z.ZodType>(
  schema: Schema,
  bytes: Uint8Array,
): z.output<Schema> {
  return schema.parse(packr.unpack(bytes));
}
