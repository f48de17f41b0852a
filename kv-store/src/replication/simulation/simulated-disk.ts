import type { NamespaceId, Revision } from "../../names.ts";
import type { SnapshotPosition, StoreAction } from "../../replica/replica.ts";
import type { Held } from "../replica-subscription.ts";
import type { Random } from "./random.ts";
import { applied, type State } from "./simulated-history.ts";

/** What reads of a node see of one namespace. */
export interface Holding {
  readonly revision: Revision;
  readonly state: State;
}

interface Stored {
  readonly held?: Holding;
  readonly snapshot?: SnapshotPosition & { readonly state: State };
}
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
  /** Changes of each namespace whose end the session does not know. */
  readonly #unanswered = new Map<NamespaceId, number>();
  /** Namespaces of which a change failed while others were under way, too: those need not fit. */
  readonly #torn = new Set<NamespaceId>();

  holding(namespace: NamespaceId): Holding | undefined {
    return this.#copies.get(namespace)?.stored.held;
  }

  held(namespace: NamespaceId): Held {
    const { held, snapshot } = this.#copies.get(namespace)?.stored ?? {};
    return {
      revision: held?.revision ?? null,
      snapshot:
        snapshot === undefined ? null : { revision: snapshot.revision, after: snapshot.after },
    };
  }

  /** Whether the session knows how all changes of the namespace ended. */
  isIdle(namespace: NamespaceId): boolean {
    return (this.#unanswered.get(namespace) ?? 0) === 0;
  }

  /** Every namespace of which something is there. */
  namespaces(): NamespaceId[] {
    const copies = [...this.#copies].filter(([, { stored }]) => !isEmpty(stored));
    return copies.map(([namespace]) => namespace);
  }

  handOver(change: Omit<Change, "copy">): void {
    const { namespace, action } = change;
    const copy = this.#copies.get(namespace) ?? { stored: {} };
    if (action.kind === "drop") this.#copies.delete(namespace);
    else this.#copies.set(namespace, copy);
    this.#queue.push({ ...change, copy });
    this.#unanswered.set(namespace, (this.#unanswered.get(namespace) ?? 0) + 1);
  }

  /** Commits the next change, or fails to. Throws when the core stores what can't follow what is there. */
  commitNext(
    isFailing: boolean,
  ): { readonly change: Change; readonly isStored: boolean } | undefined {
    const change = this.#queue.shift();
    if (change === undefined) return undefined;
    const isStored = !isFailing && this.#commit(change);
    if (!isStored) this.#torn.add(change.namespace);
    return { change, isStored };
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

  #commit({ namespace, action, copy }: Change): boolean {
    const before = this.#content.get(namespace) ?? {};
    const after = changed(before, action);
    if (after === undefined && !this.#torn.has(namespace)) {
      throw new Error(`a ${action.kind} was stored that does not fit what is there`);
    }
    if (after === undefined) return false;
    const next = new Map(this.#content);
    if (isEmpty(after)) next.delete(namespace);
    else next.set(namespace, after);
    this.#committed.push(next);
    copy.stored = after;
    return true;
  }
}

/** What is stored after an action; `undefined` when it does not fit. */
function changed({ held, snapshot }: Stored, action: StoreAction): Stored | undefined {
  switch (action.kind) {
    case "batch": {
      if (held?.revision !== action.after) return undefined;
      const state = applied(held.state, action.operations);
      return { held: { revision: action.revision, state }, ...(snapshot && { snapshot }) };
    }
    case "snapshot-start": {
      const begun = { revision: action.revision, after: null, state: new Map() };
      return { ...(held && { held }), snapshot: begun };
    }
    case "snapshot-page": {
      if (snapshot?.after !== action.after) return undefined;
      const state = applied(snapshot.state, action.operations);
      return { ...(held && { held }), snapshot: { ...snapshot, after: action.through, state } };
    }
    case "snapshot-batch": {
      if (snapshot?.revision !== action.after) return undefined;
      const state = applied(snapshot.state, action.operations);
      return { ...(held && { held }), snapshot: { ...snapshot, revision: action.revision, state } };
    }
    case "snapshot-end": {
      const isComplete =
        snapshot?.revision === action.revision && snapshot.after === action.through;
      return isComplete
        ? { held: { revision: action.revision, state: snapshot.state } }
        : undefined;
    }
    case "drop":
      return {};
  }
}

function isEmpty({ held, snapshot }: Stored): boolean {
  return held === undefined && snapshot === undefined;
}
