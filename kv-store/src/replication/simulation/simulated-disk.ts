import type { HeldOperation, Key } from "../../entry.ts";
import type { HistoryPoint, NamespaceId, Revision } from "../../names.ts";
import { withoutValue, withValue } from "../../replica/partial-entry.ts";
import type { SnapshotPosition, StoreAction } from "../../replica/replica.ts";
import type { StoreOutcome } from "../replica-exchange.ts";
import type { Held } from "../replica-subscription.ts";
import { summaryOf } from "./entries-summary.ts";
import type { Random } from "./random.ts";
import {
  applied,
  digestOfAll,
  entryOf,
  lightForm,
  NOTHING,
  type SimulatedEntry,
  type State,
} from "./simulated-history.ts";

/** What reads of a node see of one namespace. */
export interface Holding extends State {
  readonly revision: Revision;
  /** The disk has changed it, which nobody was told. */
  readonly isDamaged: boolean;
}

interface Stored {
  readonly isPartial: boolean;
  readonly held?: Holding;
  readonly snapshot?: SnapshotPosition & { readonly state: State };
}
const NOTHING_STORED: Stored = { isPartial: false };
type Content = ReadonlyMap<NamespaceId, Stored>;

export interface Change {
  readonly token: number;
  readonly namespace: NamespaceId;
  readonly action: StoreAction;
  /** As reads see the namespace: a drop puts another object in its place. */
  readonly copy: { stored: Stored };
}

/**
 * A node's disk, which does as `LmdbReplica` does: changes are handed over without waiting and committed in
 * order, each whole or not at all; what is committed survives the end of the process, and the end of the
 * power only once it was flushed.
 */
export class SimulatedDisk {
  readonly #copies = new Map<NamespaceId, { stored: Stored }>();
  /** What a power cut may leave: the state that was flushed last, and all that were committed since. */
  #committed: Content[] = [new Map()];
  /** Handed over and not yet committed, in order. */
  #queue: Change[] = [];
  /** Of values in it. */
  queuedBytes = 0;
  /** Changes of each namespace whose end the session does not know. */
  readonly #unanswered = new Map<NamespaceId, number>();
  /** Namespaces of which a change failed while others were under way, too: those need not fit. */
  readonly #torn = new Set<NamespaceId>();
  /** Namespaces of which it has ever changed a bit. */
  readonly flipped = new Set<NamespaceId>();

  holding(namespace: NamespaceId): Holding | undefined {
    return this.#copies.get(namespace)?.stored.held;
  }

  held(namespace: NamespaceId): Held {
    const { held, snapshot, isPartial } = this.#copies.get(namespace)?.stored ?? NOTHING_STORED;
    return {
      isPartial,
      point: held === undefined ? null : pointOf(held),
      snapshot: snapshot === undefined ? null : { ...pointOf(snapshot), after: snapshot.after },
    };
  }

  isPartial(namespace: NamespaceId): boolean {
    return this.#copies.get(namespace)?.stored.isPartial ?? false;
  }

  /** Whether the session knows how all changes of the namespace ended. */
  isIdle(namespace: NamespaceId): boolean {
    return (this.#unanswered.get(namespace) ?? 0) === 0;
  }

  /** Whether it knows of all changes but the one that is ending now. */
  isLast(namespace: NamespaceId): boolean {
    return this.#unanswered.get(namespace) === 1;
  }

  /** Every namespace of which something is there. */
  namespaces(): NamespaceId[] {
    const namespaces: NamespaceId[] = [];
    for (const [namespace, { stored }] of this.#copies) {
      if (!isEmpty(stored)) namespaces.push(namespace);
    }
    return namespaces;
  }

  handOver(change: Omit<Change, "copy">): void {
    const { namespace, action } = change;
    const copy = this.#copies.get(namespace) ?? { stored: NOTHING_STORED };
    if (action.kind === "drop") this.#copies.delete(namespace);
    else this.#copies.set(namespace, copy);
    this.#queue.push({ ...change, copy });
    this.queuedBytes += bytesOf(action);
    this.#unanswered.set(namespace, (this.#unanswered.get(namespace) ?? 0) + 1);
  }

  /** Commits the next change, or fails to. Throws when the core stores what can't follow what is there. */
  commitNext(
    isFailing: boolean,
  ): { readonly change: Change; readonly outcome: StoreOutcome } | undefined {
    const change = this.#queue.shift();
    if (change === undefined) return undefined;
    this.queuedBytes -= bytesOf(change.action);
    const outcome = isFailing ? "failed" : this.#commit(change);
    if (outcome !== "stored") this.#torn.add(change.namespace);
    return { change, outcome };
  }

  /** Changes one bit of one entry, if there is one, behind everybody's back. */
  damage(namespace: NamespaceId, random: Random): void {
    const copy = this.#copies.get(namespace);
    const held = copy?.stored.held;
    // What is under way to be dropped is past harm.
    if (copy === undefined || held === undefined || held.entries.size === 0) return;
    if (this.#content.get(namespace) !== copy.stored) return;
    const { put, revision } = random.pick([...held.entries.values()]);
    if (put.value.kind !== "inline") return;
    const bytes = Buffer.from(put.value.bytes);
    bytes[0] = (bytes[0] ?? 0) ^ (1 << random.below(8));
    const damaged = entryOf({ ...put, value: { kind: "inline", bytes } }, revision);
    const entries = new Map(held.entries).set(put.key, damaged);
    this.flipped.add(namespace);
    // The same bit again makes it whole.
    const isDamaged = digestOfAll(entries) !== held.digest;
    copy.stored = { ...copy.stored, held: { ...held, entries, isDamaged } };
    this.#put(namespace, copy.stored);
  }

  /** As the replica's budget decides. Nothing changes where nothing is. */
  setPartial(namespace: NamespaceId, isPartial: boolean): void {
    this.#rewrite(namespace, (stored) => ({ ...stored, isPartial }));
  }

  /** Removes some values that a partial namespace need not hold; whether there were any. */
  strip(namespace: NamespaceId, random: Random): boolean {
    return this.#rewrite(namespace, (stored) => {
      const { held, snapshot, isPartial } = stored;
      // What the disk has changed is not rewritten: its checksum does not fit.
      if (!isPartial || held?.isDamaged === true) return stored;
      if (!isHeavy(held) && !isHeavy(snapshot?.state)) return stored;
      const strip = (entry: SimulatedEntry): SimulatedEntry["put"] => {
        const stripped = random.chance(0.5) ? withoutValue(entry.put) : entry.put;
        return stripped.kind === "put" ? stripped : entry.put;
      };
      return {
        isPartial,
        ...(held === undefined ? {} : { held: { ...held, entries: rewritten(held, strip) } }),
        ...(snapshot === undefined
          ? {}
          : {
              snapshot: {
                ...snapshot,
                state: { ...snapshot.state, entries: rewritten(snapshot.state, strip) },
              },
            }),
      };
    });
  }

  /** Puts a value back that was fetched for an entry. */
  fill(namespace: NamespaceId, fetched: Parameters<typeof withValue>[1] & { key: Key }): void {
    this.#rewrite(namespace, (stored) => {
      const { held, isPartial } = stored;
      const { put: before, revision = 0 } = held?.entries.get(fetched.key) ?? {};
      const put = withValue(before, fetched);
      if (held === undefined || isPartial || held.isDamaged || put === undefined) return stored;
      const entries = new Map(held.entries).set(put.key, entryOf(put, revision));
      return { ...stored, held: { ...held, entries } };
    });
  }

  /** Whether that changed anything. */
  #rewrite(namespace: NamespaceId, change: (stored: Stored) => Stored): boolean {
    const copy = this.#copies.get(namespace);
    if (copy === undefined || isEmpty(copy.stored)) return false;
    // What is under way to be dropped stays as it is.
    if (this.#content.get(namespace) !== copy.stored) return false;
    const next = change(copy.stored);
    if (next === copy.stored) return false;
    copy.stored = next;
    this.#put(namespace, next);
    return true;
  }

  /** The namespaces whose entries are not what they should be: what a check in the background finds. */
  damaged(): NamespaceId[] {
    const damaged = [...this.#copies].filter(
      ([
        ,
        {
          stored: { held },
        },
      ]) => {
        return held !== undefined && digestOfAll(held.entries) !== held.digest;
      },
    );
    return damaged.map(([namespace]) => namespace);
  }

  /** The session knows how a change ended. */
  answered(namespace: NamespaceId): void {
    const unanswered = (this.#unanswered.get(namespace) ?? 0) - 1;
    this.#unanswered.set(namespace, unanswered);
    if (unanswered === 0) this.#torn.delete(namespace);
  }

  flush(): void {
    this.#committed = this.#committed.slice(-1);
  }

  /** The process ends: what was under way is committed up to some point, or not at all. */
  endProcess(random: Random): void {
    const reached = random.below(this.#queue.length + 1);
    for (let count = 0; count < reached; count += 1) this.commitNext(false);
    this.#queue = [];
    this.queuedBytes = 0;
    this.#reopen();
  }

  /** The power ends: some of what was not flushed is gone, the latest first. */
  endPower(random: Random): void {
    this.endProcess(random);
    this.#committed.length = 1 + random.below(this.#committed.length);
    this.flush();
    this.#reopen();
  }

  #reopen(): void {
    this.#torn.clear();
    this.#unanswered.clear();
    this.#copies.clear();
    for (const [namespace, stored] of this.#content) this.#copies.set(namespace, { stored });
  }

  get #content(): Content {
    return this.#committed.at(-1) ?? new Map();
  }

  #commit({ namespace, action, copy }: Change): StoreOutcome {
    const before = this.#content.get(namespace) ?? NOTHING_STORED;
    const after = changed(before, action);
    if (after === undefined && !this.#torn.has(namespace)) {
      throw new Error(`a ${action.kind} was stored that does not fit what is there`);
    }
    if (after === undefined) return "failed";
    const isDamaged =
      (action.kind === "batch" || action.kind === "snapshot-end") &&
      after.held?.digest !== action.digest;
    if (isDamaged && action.kind === "batch") return "damaged";
    // A snapshot that proves damaged is forgotten, and what was held before stays.
    copy.stored = isDamaged ? holdingOnly(before) : after;
    this.#put(namespace, copy.stored);
    return isDamaged ? "damaged" : "stored";
  }

  #put(namespace: NamespaceId, stored: Stored): void {
    const next = new Map(this.#content);
    if (isEmpty(stored)) next.delete(namespace);
    else next.set(namespace, stored);
    this.#committed.push(next);
  }
}

/** What is stored after an action, sound or not; `undefined` when it does not fit. */
function changed(stored: Stored, action: StoreAction): Stored | undefined {
  const { held, snapshot, isPartial } = stored;
  const kept = (operations: ReadonlyArray<HeldOperation>): ReadonlyArray<HeldOperation> =>
    isPartial ? operations.map(lightForm) : operations;
  switch (action.kind) {
    case "batch": {
      if (held?.revision !== action.after) return undefined;
      const { revision } = action;
      const { isDamaged } = held;
      return { ...stored, held: { ...appliedBatch(held, action, kept), revision, isDamaged } };
    }
    case "snapshot-start": {
      const begun = { ...pointOf(action), after: null, state: NOTHING };
      return { ...stored, snapshot: begun };
    }
    case "snapshot-page": {
      if (snapshot?.after !== action.after) return undefined;
      const state = applied(snapshot.state, kept(action.operations), action.revisions);
      return { ...stored, snapshot: { ...snapshot, after: action.through, state } };
    }
    case "snapshot-batch": {
      if (snapshot?.revision !== action.after) return undefined;
      const state = appliedBatch(snapshot.state, action, kept);
      return { ...stored, snapshot: { ...snapshot, ...pointOf(action), state } };
    }
    case "snapshot-end": {
      const { revision, through } = action;
      if (snapshot?.revision !== revision || snapshot.after !== through) return undefined;
      return { isPartial, held: { ...snapshot.state, revision, isDamaged: false } };
    }
    case "drop":
      return NOTHING_STORED;
  }
}

function appliedBatch(
  state: State,
  { after, operations }: StoreAction & { kind: "batch" | "snapshot-batch" },
  kept: (operations: ReadonlyArray<HeldOperation>) => ReadonlyArray<HeldOperation>,
): State {
  const revisions = operations.map((_, index) => after + 1 + index);
  return applied(state, kept(operations), revisions);
}

function holdingOnly({ held, isPartial }: Stored): Stored {
  return held === undefined ? { isPartial } : { held, isPartial };
}

/** Whether there are values that may be absent. */
function isHeavy(state: State | undefined): boolean {
  return state !== undefined && summaryOf(state.entries).isHeavy;
}

/** With other forms of the same entries. */
function rewritten(
  state: State,
  rewrite: (entry: SimulatedEntry) => HeldOperation & { kind: "put" },
): ReadonlyMap<string, SimulatedEntry> {
  const entries = [...state.entries].map(
    ([key, entry]) => [key, entryOf(rewrite(entry), entry.revision)] as const,
  );
  return new Map(entries);
}

function pointOf({ revision, digest }: HistoryPoint): HistoryPoint {
  return { revision, digest };
}

function isEmpty({ held, snapshot }: Stored): boolean {
  return held === undefined && snapshot === undefined;
}

/** What an action brings of values. */
export function bytesOf(action: StoreAction): number {
  if (!("operations" in action)) return 0;
  let bytes = 0;
  for (const operation of action.operations) {
    if (operation.kind === "put" && operation.value.kind === "inline") {
      bytes += operation.value.bytes.length;
    }
  }
  return bytes;
}
