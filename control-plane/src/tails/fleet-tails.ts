import {
  type Tail,
  type TailNews,
  TAILS_MAX,
  type ToldEvent,
  type WorkerKey,
} from "../contract/index.ts";
import { TailFollowers, type TailCarrier, type TailLink } from "./tail-followers.ts";

/** A tail, whichever control plane has its watcher. */
export interface FleetTail {
  readonly tail: Tail;
  readonly expiresAtMs: number;
}

/** Who has watchers, here or at another control plane, and hears what the nodes tell of their tails. */
export interface TailSource {
  /** All connected nodes follow these of its tails. */
  followed(ids: ReadonlyArray<string>): void;
  /** Events of its tails alone. */
  news(news: TailNews): void;
  /** Somebody ends one of its tails. */
  remove(id: string): void;
}

/** How a source tells its tails. */
export interface SourceLink {
  /** All that it has now. */
  tell(tails: ReadonlyArray<FleetTail>): void;
  /** It is gone, and its tails with it. May be called twice. */
  end(): void;
}

interface Told {
  tails: ReadonlyMap<string, FleetTail>;
  /** What it was last told to be followed. */
  followed: string;
}

const NOTHING: Told["tails"] = new Map();

/**
 * The tails of all control planes, as far as the nodes that are connected to this one are concerned: each
 * node is told of all, and what it tells goes to those whose tails it is for.
 */
export class FleetTails {
  readonly #sources = new Map<TailSource, Told>();
  readonly #followers = new TailFollowers<Tail>({
    wanted: () => this.#wanted(),
    onFollowed: () => this.#lookForFollowed(),
    onNews: (news) => this.#tell(news),
  });

  get all(): ReadonlyArray<FleetTail> {
    return [...this.#sources.values()].flatMap(({ tails }) => [...tails.values()]);
  }

  listOf(worker: WorkerKey): ReadonlyArray<FleetTail> {
    return this.all.filter(({ tail }) => tail.worker === worker);
  }

  /** Ends a tail of a worker, if there is one. */
  remove(worker: WorkerKey, id: string): void {
    for (const [source, { tails }] of this.#sources) {
      if (tails.get(id)?.tail.worker === worker) source.remove(id);
    }
  }

  /** Takes in somebody who has watchers, or may have. */
  attach(source: TailSource): SourceLink {
    const told: Told = { tails: NOTHING, followed: "" };
    this.#sources.set(source, told);
    const tell = (tails: ReadonlyArray<FleetTail>): void => {
      told.tails = new Map(tails.map((each) => [each.tail.id, each]));
      this.#followers.tell();
      this.#lookForFollowed();
    };
    return {
      tell,
      end: () => {
        if (told.tails.size > 0) tell([]);
        this.#sources.delete(source);
      },
    };
  }

  /** Takes in a node's connection. */
  connect(carrier: TailCarrier<Tail>): TailLink {
    return this.#followers.connect(carrier);
  }

  /** Control planes that open tails at the same moment may make some more than a node takes. */
  #wanted(): ReadonlyArray<Tail> {
    return this.all.slice(0, TAILS_MAX).map(({ tail }) => tail);
  }

  #lookForFollowed(): void {
    for (const [source, told] of this.#sources) {
      const ids = [...told.tails.keys()].filter((id) => this.#followers.allFollow(id));
      if (ids.join() === told.followed) continue;
      told.followed = ids.join();
      source.followed(ids);
    }
  }

  #tell(news: TailNews): void {
    for (const [source, { tails }] of this.#sources) {
      if (tails.size === 0) continue;
      const workers = new Set([...tails.values()].map(({ tail }) => tail.worker));
      const events = this.#sources.size === 1 ? news.events : eventsFor(tails, news.events);
      const dropped = news.dropped.filter(({ worker }) => workers.has(worker));
      if (events.length > 0 || dropped.length > 0) source.news({ events, dropped });
    }
  }
}

function eventsFor(tails: Told["tails"], events: ReadonlyArray<ToldEvent>): ToldEvent[] {
  return events.flatMap(({ json, tails: ids }) => {
    const own = ids.filter((id) => tails.has(id));
    return own.length === 0 ? [] : [{ json, tails: own }];
  });
}
