import type { Clock } from "@atoll/kv-store";
import type { Tail } from "../contract/index.ts";
import { LIMITS } from "../limits.ts";
import type { WatcherSocket } from "./watcher-socket.ts";

/** One tail: what is asked for, and who watches. */
export class OpenTail {
  readonly tail: Tail;
  /** The API token that it was opened with, and ends with. */
  readonly tokenId: string;
  readonly expiresAtMs: number;
  readonly #clock: Clock;
  readonly #openedAtMs: number;
  #watcher: WatcherSocket | undefined;
  /** What was left out, and the watcher was not told in the end. */
  #dropped = 0;
  #droppedAtMs = 0;
  /** When the watcher was last told that something is left out; absent as long as it was not. */
  #noticedAtMs: number | undefined;

  constructor(options: { readonly tail: Tail; readonly tokenId: string; readonly clock: Clock }) {
    this.tail = options.tail;
    this.tokenId = options.tokenId;
    this.#clock = options.clock;
    this.#openedAtMs = options.clock.monotonicMs();
    this.expiresAtMs = options.clock.nowMs() + LIMITS.tailMs;
  }

  get hasWatcher(): boolean {
    return this.#watcher !== undefined;
  }

  /** Nobody came, or nobody may watch for so long. */
  get isOver(): boolean {
    const ageMs = this.#clock.monotonicMs() - this.#openedAtMs;
    return ageMs > (this.hasWatcher ? LIMITS.tailMs : LIMITS.tailConnectMs);
  }

  attach(watcher: WatcherSocket): void {
    this.#watcher = watcher;
  }

  /** `json` is that of a `TailEvent`. */
  tell(json: string): void {
    if (this.#watcher?.send(json) === false) this.drop(1);
  }

  /** Counts what is not told. */
  drop(count: number): void {
    this.#dropped += count;
    this.#droppedAtMs = this.#clock.monotonicMs();
    if (this.#noticedAtMs === undefined) this.#warn();
  }

  /** To be called now and then: tells how much was left out, and when nothing is any more. */
  look(): void {
    if (this.#dropped === 0) return;
    const nowMs = this.#clock.monotonicMs();
    if (this.#noticedAtMs === undefined || nowMs - this.#noticedAtMs >= LIMITS.tailNoticeMs) {
      this.#warn();
    } else if (nowMs - this.#droppedAtMs >= LIMITS.tailCalmMs) {
      const message = `Tail has left sampling mode: ${this.#dropped} events were left out.`;
      if (!this.#notice("overload-stop", message)) return;
      this.#noticedAtMs = undefined;
      this.#dropped = 0;
    }
  }

  checkAlive(): void {
    this.#watcher?.checkAlive();
  }

  close(code: number, reason: string): void {
    this.#watcher?.close(code, reason);
  }

  /** A watcher that is too far behind is told as soon as it is not. */
  #warn(): void {
    if (this.#notice("overload", `${SAMPLING} So far ${this.#dropped} were left out.`)) {
      this.#noticedAtMs = this.#clock.monotonicMs();
    }
  }

  #notice(type: "overload" | "overload-stop", message: string): boolean {
    const notice = {
      outcome: "ok",
      scriptName: null,
      eventTimestamp: this.#clock.nowMs(),
      event: { type, message },
      logs: [],
      exceptions: [],
    };
    return this.#watcher?.send(JSON.stringify(notice)) === true;
  }
}

const SAMPLING =
  "Tail is in sampling mode, because events come faster than they can be told: some are left out. Filters make room for what you look for.";
