import type { ContentHash, KvCondition } from "../entry.ts";
import { KvError } from "../errors.ts";
import type { NamespaceId, Revision } from "../names.ts";

export function notFoundError(namespace: NamespaceId): KvError {
  return new KvError("namespace_not_found", `namespace ${namespace} does not exist`);
}

/** What was read of a namespace. Fails with `namespace_not_found` when there is none. */
export function found<Read>(namespace: NamespaceId, read: Read | undefined): Read {
  if (read === undefined) throw notFoundError(namespace);
  return read;
}

export function closedError(): KvError {
  return new KvError("closed", "the origin is closed");
}

export function unclaimedError(hash: ContentHash): KvError {
  const text = `the content ${hash} was not stored before the write, or is no longer: store it again`;
  return new KvError("value_unavailable", text);
}

/** Fails with `moment_unknown` for one that is to come, or before the earliest of which the state is known. */
export function refuseMoment(
  atMs: number,
  { nowMs, earliestMs }: { readonly nowMs: number; readonly earliestMs: number },
): void {
  const moment = new Date(atMs).toISOString();
  if (atMs > nowMs) {
    const text = `${moment} is still to come: here it is ${new Date(nowMs).toISOString()}`;
    throw new KvError("moment_unknown", text);
  }
  if (atMs >= earliestMs) return;
  const text = `what the namespace held at ${moment} is not known any more: the earliest possible is ${new Date(earliestMs).toISOString()}`;
  throw new KvError("moment_unknown", text);
}

export function outOfReachError(revision: number, logStart: number): KvError {
  const text = `the log has left revision ${revision} behind meanwhile: it begins at ${logStart}`;
  return new KvError("moment_unknown", text);
}

/** `found` is the revision that the key has, 0 for none. */
export function preconditionError({ key, revision }: KvCondition, found: Revision): KvError {
  const wanted = revision === 0 ? "no entry" : `revision ${revision}`;
  const actual = found === 0 ? "none" : `revision ${found}`;
  const shown = JSON.stringify(key.slice(0, 100));
  const text = `The write was for ${wanted} of key ${shown}, and found ${actual}`;
  return new KvError("precondition_failed", text, { found });
}
