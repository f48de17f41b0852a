import type { ContentHash, Key, KvOperation } from "../entry.ts";
import { KvError } from "../errors.ts";
import type { NamespaceId, Revision } from "../names.ts";
import type { EarlierEntry, ManagedOrigin } from "../origin/administration.ts";

export interface RestoreOptions {
  readonly origin: ManagedOrigin;
  /** Where large values are: one that is missing there is not restored to. */
  readonly blobs: { has(hash: ContentHash): Promise<boolean> };
  readonly namespace: NamespaceId;
  /** The moment to go back to, in milliseconds since the epoch. */
  readonly atMs: number;
  /** Behind which key it goes on; null for its beginning. */
  readonly after: Key | null;
  readonly nowMs: number;
  /** Counts only. */
  readonly isDryRun: boolean;
}

/** What a part of a restore did, or would do. */
export interface RestoreSummary {
  /** The revision whose state the namespace has again. */
  readonly to: Revision;
  /** Keys that got back what they held. */
  readonly puts: number;
  /** Keys that there were not, or that have expired since. */
  readonly deletes: number;
  /** Behind which key the next part goes on; null when there is none. */
  readonly next: Key | null;
}

/**
 * Gives some of the keys that were written to since a moment what they held then, by one ordinary write: the
 * history goes on, replicas follow, and the restore can itself be taken back. What has expired since stays away.
 * A restore is one such part after another, in the order of the keys, so what others write meanwhile is undone
 * where it has not come to yet and stays where it has. One that was cut short is finished by repeating it.
 * Fails with `moment_unknown`.
 */
export async function restoreSome(options: RestoreOptions): Promise<RestoreSummary> {
  const { origin, namespace, atMs, isDryRun } = options;
  const { administration } = origin;
  const to = await administration.revisionAt(namespace, atMs);
  const page = await administration.readEarlier(namespace, to, options.after);
  const operations = page.flatMap((earlier) => operationFor(earlier, options.nowMs));
  for (const operation of operations) await requireValue(operation, options.blobs);
  if (!isDryRun && operations.length > 0) await administration.rewrite(namespace, operations);
  const puts = operations.filter(({ kind }) => kind === "put").length;
  const next = page.at(-1)?.key ?? null;
  return { to, puts, deletes: operations.length - puts, next };
}

/** What brings a key back; nothing when it is as it should be. */
function operationFor({ key, entry, now }: EarlierEntry, nowMs: number): KvOperation[] {
  if (now === "same") return [];
  const isLive = entry !== undefined && (entry.expiresAt ?? Infinity) * 1_000 > nowMs;
  if (isLive) return [{ kind: "put", ...entry }];
  return now === "absent" ? [] : [{ kind: "delete", key }];
}

async function requireValue(operation: KvOperation, blobs: RestoreOptions["blobs"]): Promise<void> {
  if (operation.kind === "delete" || operation.value.kind === "inline") return;
  const { hash } = operation.value;
  if (await blobs.has(hash)) return;
  const key = JSON.stringify(operation.key.slice(0, 100));
  throw new KvError("value_unavailable", `key ${key} held value ${hash}, which is stored no more`);
}
