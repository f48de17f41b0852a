import { hash } from "node:crypto";
import type { AbsentValue, HeldEntry, HeldOperation, KvOperation, KvValue } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { encodeOperation } from "../record-codec.ts";
import { entryDigest } from "../state-digest.ts";

/**
 * What a partial replica stores of an operation. The reference that takes the place of a value has the digest
 * of the entry with it: so the digest of a namespace is the same with and without its values.
 */
export function withoutValue(operation: HeldOperation): HeldOperation {
  if (!isRemovable(operation)) return operation;
  const { bytes } = operation.value;
  const value: AbsentValue = {
    kind: "absent",
    hash: hash("sha256", bytes),
    size: bytes.length,
    digest: entryDigest(encodeOperation(operation)),
  };
  return { ...operation, value };
}

/**
 * The put that gives an entry its value back. `undefined` when the entry has one, or is another than the one
 * that the content was fetched for: a write that came meanwhile is never undone.
 */
export function withValue(
  held: HeldEntry | undefined,
  fetched: { readonly digest: Uint8Array; readonly content: Uint8Array },
): (KvOperation & { readonly kind: "put" }) | undefined {
  if (held?.value.kind !== "absent") return undefined;
  if (!Buffer.from(held.value.digest).equals(fetched.digest)) return undefined;
  const value = { kind: "inline", bytes: fetched.content } as const;
  const operation = { kind: "put", ...held, value } as const;
  return entryDigest(encodeOperation(operation)).equals(fetched.digest) ? operation : undefined;
}

/** Whether an operation brings a value that may be absent. */
export function isRemovable(
  operation: HeldOperation,
): operation is HeldOperation & { readonly kind: "put"; readonly value: InlineValue } {
  if (operation.kind === "delete" || operation.value.kind !== "inline") return false;
  return operation.value.bytes.length >= LIMITS.absentValueBytesMin;
}

type InlineValue = Extract<KvValue, { kind: "inline" }>;
