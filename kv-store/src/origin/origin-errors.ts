import type { KvCondition } from "../entry.ts";
import { KvError } from "../errors.ts";
import type { NamespaceId, Revision } from "../names.ts";

export function notFoundError(namespace: NamespaceId): KvError {
  return new KvError("namespace_not_found", `namespace ${namespace} does not exist`);
}

export function closedError(): KvError {
  return new KvError("closed", "the origin is closed");
}

/** `found` is the revision that the key has, 0 for none. */
export function preconditionError({ key, revision }: KvCondition, found: Revision): KvError {
  const wanted = revision === 0 ? "no entry" : `revision ${revision}`;
  const actual = found === 0 ? "none" : `revision ${found}`;
  const shown = JSON.stringify(key.slice(0, 100));
  const text = `The write was for ${wanted} of key ${shown}, and found ${actual}`;
  return new KvError("precondition_failed", text, { found });
}
