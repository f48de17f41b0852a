import { LIMITS } from "../limits.ts";
import type { NamespaceId } from "../names.ts";

/** What a namespace takes of a node's disk, in bytes. */
export interface HeldSize {
  /** What is there. */
  readonly bytes: number;
  /** What its absent values would add. */
  readonly absentBytes: number;
  /** What there would be less without the values that may be absent. */
  readonly removableBytes: number;
}

export const EMPTY_SIZE: HeldSize = { bytes: 0, absentBytes: 0, removableBytes: 0 };

export interface HeldExtent extends HeldSize {
  readonly namespace: NamespaceId;
  /** Values leave, and are fetched when they are read. */
  readonly isPartial: boolean;
}

/**
 * Which namespaces are to be partial from now on, given what a node holds and may hold. Past the budget the
 * one that frees most becomes partial first, so that as few as possible are; the one that needs least becomes
 * whole again first, once everything fits with room to spare. What a namespace comes to counts, not what it
 * has at the moment: values that are still to leave, or to come, are already decided.
 */
export function planExtents(
  held: ReadonlyArray<HeldExtent>,
  budgetBytes: number,
): ReadonlySet<NamespaceId> {
  const namespaces = held.map((each) => {
    const least = each.bytes - each.removableBytes;
    return { ...each, least, values: each.removableBytes + each.absentBytes };
  });
  const partial = new Set(
    namespaces.filter((each) => each.isPartial).map((each) => each.namespace),
  );
  let bytes = 0;
  for (const { namespace, least, values } of namespaces) {
    bytes += partial.has(namespace) ? least : least + values;
  }
  // The same for everybody who decides on the same sizes.
  const bySize = namespaces.toSorted(
    (left, right) => left.values - right.values || (left.namespace < right.namespace ? -1 : 1),
  );
  for (const { namespace, values } of bySize.toReversed()) {
    if (bytes <= budgetBytes) break;
    if (partial.has(namespace) || values === 0) continue;
    partial.add(namespace);
    bytes -= values;
  }
  for (const { namespace, isPartial, values } of bySize) {
    if (!isPartial || bytes + values > budgetBytes * LIMITS.replicaWholeShare) continue;
    partial.delete(namespace);
    bytes += values;
  }
  return partial;
}
