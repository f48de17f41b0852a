import { setTimeout as wait } from "node:timers/promises";
import { request } from "undici";

export interface LoadReport {
  readonly requests: number;
  /** Answers other than 200, and connections that failed, as text. */
  readonly failures: ReadonlyArray<string>;
  /** Answers that waited for a cold start. */
  readonly cold: number;
  /** Each distinct body that was answered. */
  readonly bodies: ReadonlySet<string>;
}

/** Requests that go on until `stop`, a fixed number at a time. */
export class Load {
  readonly #url: string;
  readonly #host: string;
  readonly #pauseMs: number | undefined;
  readonly #failures: string[] = [];
  readonly #bodies = new Set<string>();
  readonly #workers: ReadonlyArray<Promise<void>>;
  #requests = 0;
  #cold = 0;
  #stopping = false;

  constructor(options: {
    readonly url: string;
    readonly host: string;
    readonly atATime: number;
    /** Between an answer and the next request; by default none. */
    readonly pauseMs?: number;
  }) {
    this.#pauseMs = options.pauseMs;
    this.#url = options.url;
    this.#host = options.host;
    this.#workers = Array.from({ length: options.atATime }, () => this.#run());
  }

  get requests(): number {
    return this.#requests;
  }

  async stop(): Promise<LoadReport> {
    this.#stopping = true;
    await Promise.all(this.#workers);
    return {
      requests: this.#requests,
      failures: this.#failures,
      cold: this.#cold,
      bodies: this.#bodies,
    };
  }

  async #run(): Promise<void> {
    while (!this.#stopping) {
      try {
        const response = await request(this.#url, { headers: { host: this.#host } });
        const body = await response.body.text();
        this.#bodies.add(body);
        if (response.statusCode !== 200) this.#failures.push(`${response.statusCode} ${body}`);
        if (response.headers["x-atoll-cold"] !== undefined) this.#cold += 1;
      } catch (error) {
        this.#failures.push(String(error));
      }
      this.#requests += 1;
      if (this.#pauseMs !== undefined) await wait(this.#pauseMs);
    }
  }
}
