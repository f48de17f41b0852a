import type { ContentHash, KvOperation } from "../entry.ts";

/** The large values that operations put. */
export function namedValues(operations: ReadonlyArray<KvOperation>): ContentHash[] {
  return operations.flatMap((operation) =>
    operation.kind === "put" && operation.value.kind === "blob" ? operation.value.hash : [],
  );
}
