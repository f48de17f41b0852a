import type { HeldEntry, KvValue } from "../entry.ts";
import type { NamespaceId } from "../names.ts";
import type { ContentName } from "./value-blobs.ts";

/** Where the value of an entry is, which is not in the replica. */
export function contentOf(
  namespace: NamespaceId,
  key: HeldEntry["key"],
  value: Exclude<HeldEntry["value"], KvValue & { kind: "inline" }>,
): ContentName {
  const { hash, size } = value;
  return value.kind === "absent" ? { hash, size, place: { namespace, key } } : { hash, size };
}
