import {
  workerNameOfKey,
  type ScheduledEvent,
  type ScheduledOutcome,
  type Tail,
  type TailEvent,
  type TailNews,
  type WorkerKey,
} from "@atoll/control-plane/contract";
import type { Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import type { RequestFailure } from "../ingress/ingress.ts";
import { LIMITS } from "../limits.ts";
import type { CellEvent, CellEvents } from "./cell-events.schemas.ts";
import { lostEvent, lostRequest } from "./lost-request.ts";
import type { TailSource } from "./tail-capabilities.ts";
import { passes } from "./tail-filter.ts";

/** Where news go. */
export interface NewsReceiver {
  followed(ids: ReadonlyArray<string>): void;
  news(news: TailNews): void;
  /** What waits to be sent: news that would wait behind it are dropped. */
  bufferedBytes(): number;
}

export interface NodeTailsOptions {
  /** Resolves when what happens to these workers, and to no others, is told. */
  readonly watch: (workers: ReadonlySet<WorkerKey>) => Promise<void>;
  /** Hears how much is told of a worker, so that it can be kept from becoming too much. */
  readonly onTold: (worker: WorkerKey, count: number) => void;
  readonly versionOf: (worker: WorkerKey) => TailSource["version"] | undefined;
  /** From 0 to 1, for tails that want a part of what there is. */
  readonly random: () => number;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What was told of one worker within the current second. */
interface Told {
  events: number;
  characters: number;
}

/**
 * The tails that a node follows: takes in what cells tell of watched workers, and passes on what their filters
 * let through. Nothing waits here: what is more than the bounds, or would queue on the link, is dropped and
 * counted. Without a connection nobody watches.
 */
export class NodeTails {
  readonly #options: NodeTailsOptions;
  #tailsOf: ReadonlyMap<WorkerKey, ReadonlyArray<Tail>> = new Map();
  #receiver: NewsReceiver | undefined;
  #second = 0;
  /** Of the current second. */
  readonly #told = new Map<WorkerKey, Told>();

  constructor(options: NodeTailsOptions) {
    this.#options = options;
  }

  connected(receiver: NewsReceiver): void {
    this.#receiver = receiver;
  }

  disconnected(): void {
    this.#receiver = undefined;
    void this.follow([]);
  }

  /** Follows exactly these. Resolves when it does, and has said so. */
  async follow(tails: ReadonlyArray<Tail>): Promise<void> {
    const tailsOf = Map.groupBy(tails, ({ worker }) => worker);
    this.#tailsOf = tailsOf;
    try {
      await this.#options.watch(new Set(this.#tailsOf.keys()));
    } catch (error) {
      this.#options.log.error({ err: error }, "a worker can't be watched");
    }
    // Whoever waits for these hears of them with those that were asked for meanwhile.
    if (this.#tailsOf === tailsOf) this.#receiver?.followed(tails.map(({ id }) => id));
  }

  /** What a cell tells of a worker. */
  receive(source: TailSource, { events, dropped }: CellEvents): void {
    this.#options.onTold(source.worker, events.length + dropped);
    this.#pass(source, events, dropped);
  }

  /** Requests of a worker that no cell tells of, because there are too many. */
  skipped(worker: WorkerKey, count: number): void {
    if (count > 0 && this.#tailsOf.has(worker)) {
      this.#receiver?.news({ events: [], dropped: [{ worker, count }] });
    }
  }

  /** A request that failed: its cell may be gone, and can't tell it. */
  failed(failure: RequestFailure): void {
    const { worker } = failure;
    if (!this.#tailsOf.has(worker)) return;
    const event = lostRequest(failure, this.#options.clock.nowMs());
    if (event !== undefined) this.#lost(worker, event);
  }

  /** The same of a scheduled event. */
  lostSchedule(
    { worker, cron, scheduledMs }: Omit<ScheduledEvent, "run">,
    outcome: ScheduledOutcome,
  ): void {
    const nowMs = this.#options.clock.nowMs();
    this.#lost(worker, lostEvent(outcome, { cron, scheduledTime: scheduledMs }, nowMs));
  }

  #lost(worker: WorkerKey, event: CellEvent): void {
    const version = this.#options.versionOf(worker);
    if (version !== undefined) this.#pass({ worker, version }, [event], 0);
  }

  #pass(source: TailSource, events: ReadonlyArray<CellEvent>, droppedBefore: number): void {
    const tails = this.#tailsOf.get(source.worker) ?? [];
    if (tails.length === 0) return;
    let dropped = droppedBefore;
    const passed: TailNews["events"] = [];
    for (const { hidden = {}, ...told } of events) {
      const event = named(source, told);
      const wanted = tails.filter(({ filters }) =>
        passes(filters, { event, hidden }, this.#options.random),
      );
      if (wanted.length === 0) continue;
      const json = JSON.stringify(event);
      if (this.#mayTell(source.worker, json.length)) {
        passed.push({ tails: wanted.map(({ id }) => id), json });
      } else dropped += 1;
    }
    if (passed.length === 0 && dropped === 0) return;
    this.#receiver?.news({
      events: passed,
      dropped: dropped === 0 ? [] : [{ worker: source.worker, count: dropped }],
    });
  }

  /** Whether there is room for one more event, and takes it. */
  #mayTell(worker: WorkerKey, characters: number): boolean {
    const waiting = this.#receiver?.bufferedBytes() ?? 0;
    if (waiting > LIMITS.tailLinkBytesMax || characters > LIMITS.tailEventCharactersMax)
      return false;
    const second = Math.floor(this.#options.clock.monotonicMs() / 1_000);
    if (second !== this.#second) {
      this.#second = second;
      this.#told.clear();
    }
    const told = this.#told.get(worker) ?? { events: 0, characters: 0 };
    if (told.events >= LIMITS.tailEventsPerSecond) return false;
    if (told.characters + characters > LIMITS.tailCharactersPerSecond) return false;
    told.events += 1;
    told.characters += characters;
    this.#told.set(worker, told);
    return true;
  }
}

function named({ worker, version }: TailSource, event: Omit<CellEvent, "hidden">): TailEvent {
  return {
    scriptName: workerNameOfKey(worker),
    scriptVersion: { id: version },
    ...event,
  };
}
