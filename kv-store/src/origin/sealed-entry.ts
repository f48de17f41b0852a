import type { KvEntry } from "../entry.ts";
import { KvError } from "../errors.ts";
import { encodeOperation } from "../record-codec.ts";
import { entryDigest } from "../state-digest.ts";

/**
 * The entry, if it is as it was when its digest was stored. Fails with `storage_failed` when the disk has
 * changed it since: a replica that took it would have to trust it.
 */
export function openSealed(entry: KvEntry, digest: Buffer): KvEntry {
  if (entryDigest(encodeOperation({ kind: "put", ...entry })).equals(digest)) return entry;
  const key = JSON.stringify(entry.key.slice(0, 100));
  const text = `the entry of key ${key} is damaged on the origin's disk: write or delete the key`;
  throw new KvError("storage_failed", text);
}
