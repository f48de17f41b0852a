import type { BlobHash } from "@atoll/control-plane/contract";

/**
 * The modification time, in seconds, that a site's file gets: an arbitrary one that its content alone
 * decides. workerd makes a file's ETag from its path, size and modification time. So a time that says
 * when the file came here would give each node another ETag for the same content; and a fixed one
 * would let a changed file of the same size keep its ETag, for which browsers are answered 304.
 */
export function contentTime(blob: BlobHash): number {
  // 31 bits of seconds, so that every file system can hold them (until 2038), and 20 of a fraction:
  // together exact in a double.
  const seconds = Number.parseInt(blob.slice(0, 8), 16) >>> 1;
  const fraction = Number.parseInt(blob.slice(8, 13), 16) / 2 ** 20;
  return seconds + fraction;
}
