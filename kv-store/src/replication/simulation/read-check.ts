import type { HeldEntry } from "../../entry.ts";
import { LIMITS } from "../../limits.ts";
import { entryOf, type SimulatedEntry } from "./simulated-history.ts";
import type { SimulatedNode } from "./simulated-node.ts";
import type { SimulatedOrigin } from "./simulated-origin.ts";
import type { EndedRead } from "./simulated-read.ts";
import { STEADY_MS } from "./steady.ts";

/** What is promised of reads, of namespaces without their values, too. */
export class ReadCheck {
  readonly #origin: SimulatedOrigin;
  readonly #isSound: boolean;
  /** Reads that were answered, and those of them whose value was fetched. */
  answered = 0;
  fetched = 0;

  constructor(parts: { readonly origin: SimulatedOrigin; readonly isSound: boolean }) {
    this.#origin = parts.origin;
    this.#isSound = parts.isSound;
  }

  /** A read shows the state as of a revision, none that is older than what the node had, and with its value. */
  check(node: SimulatedNode, { namespace, key, from, beganMs, answer }: EndedRead): void {
    const where = `node ${node.number}, namespace ${namespace[0]}, key ${key}`;
    if (answer === undefined) {
      const wantedMs = node.wanted.get(namespace) ?? Infinity;
      const isSteady = Math.max(node.steadySinceMs, wantedMs) + STEADY_MS < beganMs;
      // What has expired at the origin leaves it before it leaves the node.
      const held = node.holding(namespace)?.entries.get(key);
      if (held?.put.expiresAt !== undefined) return;
      const { isDeleted, records } = this.#origin.history(namespace);
      if (!this.#isSound || !isSteady || isDeleted) return;
      // A key that is written faster than it is fetched is given up.
      const written = records.slice(from).filter(({ operation }) => operation.key === key);
      if (written.length >= LIMITS.valueReadsMax) return;
      throw new Error(`${where}: a value could not be had where nothing is wrong`);
    }
    this.answered += 1;
    const { revision, entry, content, isCurrent } = answer;
    const now = node.holding(namespace);
    // What the disk has changed has no sum: the real one would have refused the read.
    if (now === undefined || now.isDamaged) return;
    if (entry?.value.kind === "absent") this.fetched += 1;
    const histories = this.#origin.histories(namespace);
    if (revision < from && histories.length === 1) {
      throw new Error(`${where}: a read that began at ${from} shows ${revision}`);
    }
    const isHidden = (each: SimulatedEntry | undefined): boolean =>
      each?.put.expiresAt !== undefined && node.clock.hides(each.put.expiresAt);
    const isOf = (each: SimulatedEntry | undefined): boolean =>
      isValueOf(each, content) || (content === undefined && isHidden(each));
    if (!histories.some((each) => isOf(each.states[revision]?.entries.get(key)))) {
      throw new Error(`${where}: shows a value that it did not have as of ${revision}`);
    }
    const shown = now.entries.get(key);
    const held = isHidden(shown) ? undefined : shown;
    if (!isCurrent || held === undefined || entry === undefined) {
      if (isCurrent && held !== entry) throw new Error(`${where}: shows what is no longer there`);
      return;
    }
    if (digestOf(entry).equals(held.digest)) return;
    throw new Error(`${where}: shows an older value over what the node holds`);
  }
}

/** Whether a key's value was this; `undefined` for no value. */
function isValueOf(model: SimulatedEntry | undefined, content: Uint8Array | undefined): boolean {
  if (model === undefined || content === undefined) return model === content;
  const { value } = model.put;
  return value.kind === "inline" && Buffer.from(value.bytes).equals(content);
}

function digestOf(entry: HeldEntry): Buffer {
  return entryOf({ kind: "put", ...entry }, 0).digest;
}
