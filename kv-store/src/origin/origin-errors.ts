import type { ContentHash } from "../entry.ts";
import { KvError } from "../errors.ts";
import type { NamespaceId } from "../names.ts";

export function notFoundError(namespace: NamespaceId): KvError {
  return new KvError("namespace_not_found", `namespace ${namespace} does not exist`);
}

export function closedError(): KvError {
  return new KvError("closed", "the origin is closed");
}

export function unclaimedError(hash: ContentHash): KvError {
  const text = `the content ${hash} was not stored before the write, or is no longer: store it again`;
  return new KvError("value_unavailable", text);
}
