import { KvError } from "../errors.ts";
import type { NamespaceId } from "../names.ts";

export function notFoundError(namespace: NamespaceId): KvError {
  return new KvError("namespace_not_found", `namespace ${namespace} does not exist`);
}

export function closedError(): KvError {
  return new KvError("closed", "the origin is closed");
}
