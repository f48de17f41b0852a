import type { ContentHash, Key } from "../../entry.ts";
import type { NamespaceId, Revision } from "../../names.ts";
import { summaryOf } from "./entries-summary.ts";
import type { Random } from "./random.ts";
import type { SimulatedDisk } from "./simulated-disk.ts";
import type { SimulatedNode } from "./simulated-node.ts";
import { SimulatedRead, type EndedRead, type ValueSource } from "./simulated-read.ts";
import type { Timeline } from "./timeline.ts";

// Each way of a fetch takes up to this long.
const FETCH_MS = 150;

export interface SimulatedValuesOptions {
  readonly node: SimulatedNode;
  readonly disk: SimulatedDisk;
  readonly random: Random;
  readonly timeline: Timeline;
  readonly valueOf: ValueSource;
  readonly isConnected: () => boolean;
  readonly onChange: () => void;
  readonly onRead: (read: EndedRead) => void;
}

/** The values of a node's namespaces: leaves and fetches them as the real node does. */
export class SimulatedValues {
  readonly #options: SimulatedValuesOptions;

  constructor(options: SimulatedValuesOptions) {
    this.#options = options;
  }

  get nowMs(): number {
    return this.#options.timeline.nowMs;
  }

  get node(): SimulatedNode {
    return this.#options.node;
  }

  /** As `EntryReader` does. */
  read(namespace: NamespaceId, key: Key): void {
    const holding = this.node.holding(namespace);
    if (holding === undefined) return;
    const reading = new SimulatedRead(this, { namespace, key, from: holding.revision });
    reading.take(reading.look(holding));
  }

  readEnded(read: EndedRead): void {
    this.#options.onRead(read);
  }

  /** Takes time, and needs the connection. */
  fetch(
    place: { readonly namespace: NamespaceId; readonly key: Key; readonly hash: ContentHash },
    done: (content: Uint8Array | Revision | "failed") => void,
  ): void {
    const { node, random, valueOf, isConnected } = this.#options;
    const isLost = !isConnected() || (node.isFaulty && random.chance(0.05));
    node.later(random.below(FETCH_MS), () => {
      if (isLost) return done("failed");
      const content = valueOf(place);
      // More may be written before it arrives.
      node.later(random.below(FETCH_MS), () => done(content));
    });
  }

  /** As `ReplicaBudget` does: values leave partial namespaces, and come back to whole ones. */
  keepExtents(): void {
    const { disk, random, onChange } = this.#options;
    let isChanged = false;
    for (const namespace of disk.namespaces()) {
      if (disk.strip(namespace, random)) isChanged = true;
      if (!disk.isPartial(namespace)) this.#fill(namespace);
    }
    if (isChanged) onChange();
  }

  #fill(namespace: NamespaceId): void {
    const { disk, random, onChange } = this.#options;
    const holding = disk.holding(namespace);
    if (holding === undefined) return;
    for (const { put } of summaryOf(holding.entries).absent) {
      const { key, value } = put;
      if (value.kind !== "absent" || random.chance(0.5)) continue;
      this.fetch({ namespace, key, hash: value.hash }, (content) => {
        if (!(content instanceof Uint8Array)) return;
        disk.fill(namespace, { key, digest: value.digest, content });
        onChange();
      });
    }
  }
}
