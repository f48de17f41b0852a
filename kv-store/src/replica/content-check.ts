import type { Clock } from "../clock.ts";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { Log } from "../log.ts";
import type { NamespaceId } from "../names.ts";
import { StateSum } from "../state-digest.ts";
import type { Held } from "./stored-copy.ts";
import type { DamageListener } from "./replica.ts";
import { keysBehind, type SlotEntries } from "./slot-entries.ts";

export interface ContentCheckOptions {
  readonly entries: SlotEntries;
  readonly clock: Clock;
  readonly log: Log;
  /** Every namespace that is held now. */
  readonly held: () => Iterable<NamespaceId>;
  /** What is held of a namespace now, also within a transaction. */
  readonly stored: (namespace: NamespaceId) => Held | undefined;
  /** As the replica's own: one after another, in the order of the calls. */
  readonly transaction: <Result>(action: () => Result) => Promise<Result>;
  readonly onDamage: DamageListener;
}

/** A pass over one namespace. */
interface Pass {
  readonly namespace: NamespaceId;
  readonly slot: number;
  /** Of the entries up to `last`, as they are now. */
  readonly sum: StateSum;
  /** The last key that was read. */
  last: Buffer | undefined;
}

type Verdict = "going-on" | "sound" | "damaged" | "replaced";

/**
 * Reads all that a node holds, again and again, a little at a time, and compares it with the digest of the
 * state that it should be. Reads of the store check single entries; this finds those that nobody reads, and
 * the ones that are missing or too many. No transaction is held open over a pass, which would let LMDB's
 * file grow: what batches change behind the place that was reached is added to the sum as it happens.
 */
export class ContentCheck {
  readonly #options: ContentCheckOptions;
  /** Namespaces of this round that are still to be read. */
  #queue: NamespaceId[] = [];
  #pass: Pass | undefined;
  #isReading = false;
  #roundMs: number;

  constructor(options: ContentCheckOptions) {
    this.#options = options;
    this.#roundMs = options.clock.monotonicMs();
  }

  /** Reads the next few entries. Never rejected; does nothing while it is reading or between two rounds. */
  async readOn(): Promise<void> {
    if (this.#isReading) return;
    const pass = (this.#pass ??= this.#nextPass());
    if (pass === undefined) return;
    this.#isReading = true;
    try {
      const verdict = await this.#options.transaction(() => this.#read(pass));
      if (verdict !== "going-on") this.#end(pass);
      if (verdict === "damaged") {
        this.#options.onDamage(pass.namespace, "entries are missing, or were changed by the disk");
      }
    } catch (err) {
      this.#end(pass);
      if (err instanceof KvError && err.code === "replica_damaged") {
        this.#options.onDamage(pass.namespace, err.message);
      } else {
        this.#options.log.warn({ err }, "what this node holds could not be checked");
      }
    } finally {
      this.#isReading = false;
    }
  }

  /** An entry with this digest came into a slot, or left it. */
  changed(slot: number, key: Buffer, digest: Buffer): void {
    const pass = this.#pass;
    if (pass?.slot !== slot || pass.last === undefined) return;
    if (Buffer.compare(key, pass.last) <= 0) pass.sum.toggle(digest);
  }

  /** Of what `changed` told, some is undone: the pass begins anew. */
  restart(): void {
    if (this.#pass === undefined) return;
    this.#queue.push(this.#pass.namespace);
    this.#pass = undefined;
  }

  #nextPass(): Pass | undefined {
    const nowMs = this.#options.clock.monotonicMs();
    if (this.#queue.length === 0 && nowMs >= this.#roundMs) {
      this.#roundMs = nowMs + LIMITS.contentCheckMs;
      this.#queue = [...this.#options.held()];
    }
    const namespace = this.#queue.shift();
    const held = namespace === undefined ? undefined : this.#options.stored(namespace);
    if (namespace === undefined || held === undefined) return undefined;
    return { namespace, slot: held.slot, sum: new StateSum(), last: undefined };
  }

  /** Part of a transaction. */
  #read(pass: Pass): Verdict {
    const held = this.#options.stored(pass.namespace);
    if (held?.slot !== pass.slot || this.#pass !== pass) return "replaced";
    let rows = 0;
    let bytes = 0;
    for (const { key, record } of this.#options.entries.scan(pass.slot, keysBehind(pass.last))) {
      if (rows >= LIMITS.contentCheckRowsMax || bytes >= LIMITS.contentCheckBytesMax) {
        return "going-on";
      }
      rows += 1;
      bytes += record.length;
      pass.sum.toggle(record);
      pass.last = Buffer.from(key);
    }
    return pass.sum.digest === held.digest ? "sound" : "damaged";
  }

  #end(pass: Pass): void {
    if (this.#pass === pass) this.#pass = undefined;
  }
}
