import type { ContentHash, HeldEntry, Key } from "../../entry.ts";
import { Revision, type NamespaceId } from "../../names.ts";
import { ValueRead, type Look, type ReadStep } from "../../front/value-read.ts";
import { LIMITS } from "../../limits.ts";
import type { Holding } from "./simulated-disk.ts";
import type { SimulatedValues } from "./simulated-values.ts";

/** The origin's value of a key, if it has this hash; else the revision at which it is so. */
export type ValueSource = (place: {
  readonly namespace: NamespaceId;
  readonly key: Key;
  readonly hash: ContentHash;
}) => Uint8Array | Revision;

/** How a read ended. */
export interface EndedRead {
  readonly namespace: NamespaceId;
  readonly key: Key;
  /** What the node held when it began. */
  readonly from: Revision;
  readonly beganMs: number;
  /** Absent when the value could not be had. */
  readonly answer?: {
    readonly revision: Revision;
    readonly entry: HeldEntry | undefined;
    /** The value, if there is one. */
    readonly content: Uint8Array | undefined;
    readonly isCurrent: boolean;
  };
}

// How often a read that waits looks at the replica.
const WAIT_MS = 50;

/** A read of one key: carries out what a `ValueRead` decides, as `EntryReader` does. */
export class SimulatedRead {
  readonly #values: SimulatedValues;
  readonly #place: Pick<EndedRead, "namespace" | "key" | "from">;
  readonly #beganMs: number;
  readonly #read = new ValueRead();
  #content: Uint8Array | undefined;

  constructor(values: SimulatedValues, place: Pick<EndedRead, "namespace" | "key" | "from">) {
    this.#values = values;
    this.#place = place;
    this.#beganMs = values.nowMs;
  }

  look({ revision, entries }: Holding): ReadStep {
    const entry = entries.get(this.#place.key);
    const expiresAt = entry?.put.expiresAt;
    const isHidden = expiresAt !== undefined && this.#values.node.clock.hides(expiresAt);
    if (entry === undefined || isHidden)
      return this.#read.looked({ revision, entries: [undefined] });
    // Of which write it is tells it from the same value put again.
    const held = { ...entry.put, revision: Revision.parse(entry.revision) };
    return this.#read.looked({ revision, entries: [held] });
  }

  take(step: ReadStep): void {
    switch (step.kind) {
      case "answer":
        return this.#answer(step.look, step.isCurrent);
      case "fail":
        return this.#end({});
      case "wait":
        return this.#wait(step.past, this.#values.nowMs + LIMITS.freshReadMs);
      case "fetch": {
        const value = step.entries[0]?.value;
        if (value === undefined) throw new Error("nothing is to be fetched");
        const { namespace, key } = this.#place;
        return this.#values.fetch({ namespace, key, hash: value.hash }, (content) => {
          if (content === "failed") return this.take(this.#read.failed());
          if (typeof content === "number") return this.take(this.#read.failed({ at: content }));
          this.#content = content;
          this.#lookAgain();
        });
      }
    }
  }

  #lookAgain(): void {
    const holding = this.#values.node.holding(this.#place.namespace);
    if (holding === undefined) return; // not wanted any more
    this.take(this.look(holding));
  }

  #wait(past: Revision, untilMs: number): void {
    const holding = this.#values.node.holding(this.#place.namespace);
    if (holding !== undefined && holding.revision > past) return this.#lookAgain();
    if (this.#values.nowMs >= untilMs) return this.#end({});
    this.#values.node.later(WAIT_MS, () => this.#wait(past, untilMs));
  }

  #answer({ revision, entries }: Look, isCurrent: boolean): void {
    const [entry] = entries;
    const value = entry?.value;
    // What was fetched before may have been deleted since.
    const fetched = value === undefined ? undefined : this.#content;
    const content = value?.kind === "inline" ? value.bytes : fetched;
    this.#end({ answer: { revision, entry, content, isCurrent } });
  }

  #end(end: Pick<EndedRead, "answer">): void {
    this.#values.readEnded({ ...this.#place, beganMs: this.#beganMs, ...end });
  }
}
