import type { Key } from "../entry.ts";
import type { NamespaceId, Revision } from "../names.ts";
import type { OwnWrite } from "./own-writes.ts";

/** What the copy must be for a read. */
export interface ReadDemand {
  /** What is read: what the node itself has acknowledged of it must be seen. */
  readonly keys?: ReadonlyArray<Key>;
  /** The same of a listing. */
  readonly prefix?: string;
  /** The namespace's history up to here is seen. */
  readonly minRevision?: Revision | undefined;
  /** The copy is at most this much older than the origin. */
  readonly maxStalenessMs?: number | undefined;
}

/** What a node has of a namespace. */
export interface CopyState {
  readonly namespace: NamespaceId;
  /** `undefined` while nothing has arrived. */
  readonly revision: Revision | undefined;
  /** The same, null when it may be of another history than the origin's. */
  readonly confirmed: Revision | null;
  /** At most this much older than the origin; null before the origin was first heard. */
  readonly lagMs: number | null;
  /** Writes that the node has acknowledged and that are not seen. */
  readonly own: ReadonlyArray<OwnWrite>;
}

/** Why a copy is not what a read wants. */
export interface Lack {
  readonly text: string;
  /** By the monotonic clock; later than this nobody waits for it. */
  readonly untilMs: number;
}

/** What keeps a copy from being what a read wants; `undefined` when it is. */
export function lackOf(copy: CopyState, demand: ReadDemand): Lack | undefined {
  if (copy.revision === undefined) {
    return lack(`namespace ${copy.namespace} has not arrived at this node yet`);
  }
  return ownWriteLack(copy, demand) ?? revisionLack(copy, demand) ?? stalenessLack(copy, demand);
}

function ownWriteLack({ own }: CopyState, { keys, prefix }: ReadDemand): Lack | undefined {
  const isRead = (key: Key): boolean =>
    keys?.includes(key) === true || (prefix !== undefined && key.startsWith(prefix));
  for (const { keys: written, revision, untilMs } of own) {
    const key = written.find(isRead);
    if (key === undefined) continue;
    const shown = JSON.stringify(key.slice(0, 100));
    const text = `this node has acknowledged a write of key ${shown}, revision ${revision}, that has not come back to it yet`;
    return { text, untilMs };
  }
  return undefined;
}

function revisionLack({ confirmed }: CopyState, { minRevision }: ReadDemand): Lack | undefined {
  if (minRevision === undefined || (confirmed ?? -1) >= minRevision) return undefined;
  return lack(`revision ${minRevision} was asked for, and this node has ${confirmed ?? "none"}`);
}

function stalenessLack({ lagMs }: CopyState, { maxStalenessMs }: ReadDemand): Lack | undefined {
  if (maxStalenessMs === undefined || (lagMs ?? Infinity) <= maxStalenessMs) return undefined;
  const age = lagMs === null ? "of an unknown age" : `up to ${lagMs} ms old`;
  return lack(`at most ${maxStalenessMs} ms of age were asked for, and this node's copy is ${age}`);
}

function lack(text: string): Lack {
  return { text, untilMs: Infinity };
}
