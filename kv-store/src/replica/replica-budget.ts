import type { Clock } from "../clock.ts";
import { KvError } from "../errors.ts";
import type { HeldEntry, Key } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import type { Log } from "../log.ts";
import type { NamespaceId } from "../names.ts";
import { contentOf } from "../values/held-value.ts";
import type { ValueCache } from "../values/value-cache.ts";
import { planExtents } from "./extent-plan.ts";
import type { LmdbReplica } from "./lmdb-replica.ts";
import type { FetchedValue } from "./slot-entries.ts";

export interface ReplicaBudgetOptions {
  readonly replica: LmdbReplica;
  /** Fetches what a namespace needs that becomes whole. */
  readonly values: ValueCache;
  /** What all namespaces together may take of the disk. Keys, metadata and small values are kept past it. */
  readonly bytesMax: number;
  /** Told when values of a namespace may be absent from now on, or no longer. */
  readonly onChange: (namespace: NamespaceId) => void;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Keeps what a node holds within its budget: decides which namespaces are partial, removes their values, and
 * brings them back once there is room. Reads and the stream go on meanwhile.
 */
export class ReplicaBudget {
  readonly #options: ReplicaBudgetOptions;
  readonly #stop: () => void;
  /** How far each namespace is that becomes whole. */
  readonly #filled = new Map<NamespaceId, Key>();
  #fillNotBeforeMs = -Infinity;
  /** Never rejected. */
  #running: Promise<void> | undefined;
  #isClosed = false;
  /** Said once until it works again. */
  #isFailing = false;

  constructor(options: ReplicaBudgetOptions) {
    this.#options = options;
    this.#stop = options.clock.every(LIMITS.replicaBudgetMs, () => this.#begin());
  }

  /** Compares once and does what there is to do. Resolves when nothing is left. */
  settle(): Promise<void> {
    this.#begin();
    return this.#running ?? Promise.resolve();
  }

  /** Resolves when nothing is under way. May be called twice. */
  async close(): Promise<void> {
    this.#stop();
    this.#isClosed = true;
    await this.#running;
  }

  #begin(): void {
    if (this.#isClosed) return;
    this.#running ??= this.#run().finally(() => (this.#running = undefined));
  }

  async #run(): Promise<void> {
    try {
      await this.#plan();
      // One step of each in turn: they share the disk with the stream.
      while (!this.#isClosed && (await this.#step()));
      this.#isFailing = false;
    } catch (err) {
      if (!this.#isFailing) this.#options.log.warn({ err }, "values could not be moved");
      this.#isFailing = true;
    }
  }

  async #plan(): Promise<void> {
    const { replica, bytesMax, log } = this.#options;
    const extents = replica.extents();
    const partial = planExtents(extents, bytesMax);
    for (const { namespace, isPartial } of extents) {
      if (partial.has(namespace) === isPartial) continue;
      await replica.setPartial(namespace, !isPartial);
      this.#filled.delete(namespace);
      const what = isPartial ? "whole again: its values are fetched" : "partial: its values leave";
      log.warn({ namespace, bytesMax }, `a namespace becomes ${what}`);
      this.#options.onChange(namespace);
    }
  }

  /** Whether there may be more to do. */
  async #step(): Promise<boolean> {
    const { replica } = this.#options;
    let isMore = false;
    for (const { namespace, isPartial, removableBytes, absentBytes } of replica.extents()) {
      if (isPartial && removableBytes > 0) isMore = (await replica.strip(namespace)) || isMore;
      if (!isPartial && absentBytes > 0) isMore = (await this.#fill(namespace)) || isMore;
    }
    return isMore;
  }

  async #fill(namespace: NamespaceId): Promise<boolean> {
    const { replica, clock } = this.#options;
    if (clock.monotonicMs() < this.#fillNotBeforeMs) return false;
    if (replica.revision(namespace) === undefined) return false;
    const { entries, last } = replica.absentValues(namespace, this.#filled.get(namespace));
    const fetched = await Promise.all(entries.map((entry) => this.#fetch(namespace, entry)));
    await replica.fill(
      namespace,
      fetched.flatMap((value) => value ?? []),
    );
    // Once through, it begins anew: some were replaced at the origin, and the stream brings what did it.
    if (last === undefined) this.#filled.delete(namespace);
    else this.#filled.set(namespace, last);
    return last !== undefined;
  }

  /** `undefined` when it can't be had now. */
  async #fetch(namespace: NamespaceId, entry: HeldEntry): Promise<FetchedValue | undefined> {
    const { key, value } = entry;
    if (value.kind !== "absent") return undefined;
    const { values, clock } = this.#options;
    try {
      const content = await values.passValue(contentOf(namespace, key, value));
      return { key, digest: value.digest, content };
    } catch (error) {
      if (!(error instanceof KvError)) throw error;
      // One that is gone is of this key alone; with anything else the others would fare no better.
      if (error.code !== "value_gone") {
        this.#fillNotBeforeMs = clock.monotonicMs() + LIMITS.replicaFillRetryMs;
      }
      return undefined;
    }
  }
}
