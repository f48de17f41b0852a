import type { KvOperation } from "../entry.ts";
import { Revision, type HistoryPoint } from "../names.ts";
import { encodeOperation } from "../record-codec.ts";
import { entryDigest, StateSum } from "../state-digest.ts";

/** What a namespace would hold after operations, without an origin: says the point to which they lead. */
export class TrackedState {
  readonly #entries = new Map<string, Buffer>();
  readonly #sum = new StateSum();
  #revision: number;

  constructor(revision = 0) {
    this.#revision = revision;
  }

  get point(): HistoryPoint {
    return { revision: Revision.parse(this.#revision), digest: this.#sum.digest };
  }

  /** Each operation is one revision. */
  apply(operations: ReadonlyArray<KvOperation>): HistoryPoint {
    for (const operation of operations) {
      this.#replace(operation);
      this.#revision += 1;
    }
    return this.point;
  }

  /** Takes entries as a snapshot of this revision has them. */
  take(operations: ReadonlyArray<KvOperation>): HistoryPoint {
    for (const operation of operations) this.#replace(operation);
    return this.point;
  }

  #replace(operation: KvOperation): void {
    const replaced = this.#entries.get(operation.key);
    if (replaced !== undefined) this.#sum.toggle(replaced);
    this.#entries.delete(operation.key);
    if (operation.kind === "delete") return;
    const digest = entryDigest(encodeOperation(operation));
    this.#sum.toggle(digest);
    this.#entries.set(operation.key, digest);
  }
}
