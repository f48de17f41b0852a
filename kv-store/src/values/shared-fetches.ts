import type { ContentHash } from "../entry.ts";
import { KvError } from "../errors.ts";
import type { ContentName, ValuePlace } from "./value-blobs.ts";

/** A fetch under way. */
interface Fetch<Content> {
  /** Where it looks, of a small value. */
  readonly place: ValuePlace | undefined;
  readonly content: Promise<Content>;
}

/** Fetches under way, so that many readers of one value cause one. */
export class SharedFetches<Content> {
  readonly #running = new Map<ContentHash, Fetch<Content>>();

  /**
   * Ends as a fetch of the value does that is under way, or that this call begins. What could not be reached could not
   * be reached by the next one either, which would take as long: so all who wait are told at once. What is gone may be
   * had yet, from another key, or from the same one if it was looked at before this call.
   */
  async join({ hash, place }: ContentName, begin: () => Promise<Content>): Promise<Content> {
    for (let isEarlier = true; ; isEarlier = false) {
      const running = this.#running.get(hash);
      if (running === undefined) break;
      try {
        return await running.content;
      } catch (error) {
        const isOurs = !isEarlier && isSame(running.place, place);
        if (isOurs || !isGone(error)) throw error;
      }
    }
    const content = begin().finally(() => this.#running.delete(hash));
    this.#running.set(hash, { place, content });
    return content;
  }

  /** Resolves when those that are under way have ended. */
  async idle(): Promise<void> {
    await Promise.allSettled(Array.from(this.#running.values(), ({ content }) => content));
  }
}

function isGone(error: unknown): boolean {
  return error instanceof KvError && error.code === "value_gone";
}

function isSame(one: ValuePlace | undefined, other: ValuePlace | undefined): boolean {
  return one?.namespace === other?.namespace && one?.key === other?.key;
}
