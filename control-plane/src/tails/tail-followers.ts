import type { TailNews } from "../contract/index.ts";

/** The way to somebody who follows tails. */
export interface TailCarrier<Told> {
  /** Every tail that there is. */
  send(tails: ReadonlyArray<Told>): void;
}

/** What whoever follows tails tells. */
export interface TailLink {
  /** It is there, and takes tails. */
  open(): void;
  /** It tells what happens for these tails. */
  followed(ids: ReadonlyArray<string>): void;
  news(news: TailNews): void;
  /** The connection is gone. May be called twice. */
  close(): void;
}

interface Follower<Told> {
  readonly carrier: TailCarrier<Told>;
  ids: ReadonlySet<string>;
}

interface Parts<Told> {
  /** All tails. */
  readonly wanted: () => ReadonlyArray<Told>;
  /** Called when other tails than before may be followed by all. */
  readonly onFollowed: () => void;
  readonly onNews: (news: TailNews) => void;
}

/** Who is told of all tails of one place, and which of these each follows by now. */
export class TailFollowers<Told> {
  readonly #parts: Parts<Told>;
  readonly #followers = new Set<Follower<Told>>();

  constructor(parts: Parts<Told>) {
    this.#parts = parts;
  }

  connect(carrier: TailCarrier<Told>): TailLink {
    const { wanted, onFollowed, onNews } = this.#parts;
    const follower: Follower<Told> = { carrier, ids: new Set() };
    return {
      open: () => {
        this.#followers.add(follower);
        const all = wanted();
        if (all.length > 0) carrier.send(all);
      },
      followed: (ids) => {
        follower.ids = new Set(ids);
        onFollowed();
      },
      news: onNews,
      close: () => {
        if (this.#followers.delete(follower)) onFollowed();
      },
    };
  }

  /** Tells everybody what there is now. */
  tell(): void {
    const all = this.#parts.wanted();
    for (const { carrier } of this.#followers) carrier.send(all);
  }

  allFollow(id: string): boolean {
    return [...this.#followers].every(({ ids }) => ids.has(id));
  }
}
