import type { Key } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import type { NamespaceId, Revision } from "../names.ts";

/** A write of this node that the origin has acknowledged and this node's reads don't see yet. */
export interface OwnWrite {
  readonly keys: ReadonlyArray<Key>;
  /** Reads see it from this revision of the namespace on. */
  readonly revision: Revision;
  /** When it was known that it would not come at once, and until when reads wait for it all the same. */
  readonly sinceMs: number;
  readonly untilMs: number;
}

/**
 * What a node has acknowledged without being able to show it: its stream was cut in between. Reads of such a
 * key would go back behind what the node itself has said, so they wait, and then say so. Bounded.
 */
export class OwnWrites {
  /** None is empty. */
  readonly #byNamespace = new Map<NamespaceId, ReadonlyArray<OwnWrite>>();
  /** Of their keys. */
  #count = 0;

  /** False when there is no room for it: then it must not be acknowledged. */
  add(
    namespace: NamespaceId,
    write: { readonly keys: ReadonlyArray<Key>; readonly revision: Revision },
    nowMs: number,
  ): boolean {
    if (this.#count + write.keys.length > LIMITS.ownWritesMax) return false;
    this.#count += write.keys.length;
    const own = { ...write, sinceMs: nowMs, untilMs: nowMs + LIMITS.ownWriteMs };
    this.#byNamespace.set(namespace, [...(this.#byNamespace.get(namespace) ?? []), own]);
    return true;
  }

  /** Empty when all of the namespace's are seen. */
  of(namespace: NamespaceId): ReadonlyArray<OwnWrite> {
    return this.#byNamespace.get(namespace) ?? NONE;
  }

  /** The replica of the namespace has come to this revision. */
  reached(namespace: NamespaceId, applied: number): void {
    this.#keep(namespace, ({ revision }) => revision > applied);
  }

  /** The origin was at this revision after the node's clock showed `echoMs`: what it does not have, it has lost. */
  heard(namespace: NamespaceId, point: { readonly revision: Revision }, echoMs: number): void {
    this.#keep(
      namespace,
      ({ revision, sinceMs }) => revision <= point.revision || sinceMs > echoMs,
    );
  }

  forget(namespace: NamespaceId): void {
    this.#keep(namespace, () => false);
  }

  #keep(namespace: NamespaceId, isAwaited: (write: OwnWrite) => boolean): void {
    const writes = this.#byNamespace.get(namespace);
    if (writes === undefined) return;
    for (const write of writes) if (!isAwaited(write)) this.#count -= write.keys.length;
    const kept = writes.filter(isAwaited);
    if (kept.length > 0) this.#byNamespace.set(namespace, kept);
    else this.#byNamespace.delete(namespace);
  }
}

const NONE: ReadonlyArray<OwnWrite> = [];
