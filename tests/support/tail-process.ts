import type { TestAtoll, WranglerRelease } from "./atoll.ts";
import { eventually } from "./eventually.ts";
import { RunningWrangler } from "./running-wrangler.ts";

/** An event as `wrangler tail --format json` writes it; of a notice only `event` says anything. */
export interface TailedEvent {
  readonly outcome: string;
  readonly event: {
    readonly type?: string;
    readonly message?: string;
    readonly request?: {
      readonly url: string;
      readonly method: string;
      readonly headers: Readonly<Record<string, string>>;
    };
    readonly response?: { readonly status: number };
  } | null;
  readonly logs: ReadonlyArray<{ readonly message: ReadonlyArray<unknown> }>;
  readonly exceptions: ReadonlyArray<{ readonly name: string; readonly message: string }>;
  readonly scriptVersion?: { readonly id: string };
}

/** A `wrangler tail` that runs until it is ended. */
export class TailProcess {
  readonly #wrangler: RunningWrangler;

  constructor(
    atoll: Pick<TestAtoll, "dataDirectory" | "variables">,
    options: {
      readonly worker: string;
      readonly release: WranglerRelease;
      readonly flags?: ReadonlyArray<string>;
    },
  ) {
    const { worker, release, flags = [] } = options;
    this.#wrangler = new RunningWrangler(atoll, {
      words: ["tail", worker, ...flags],
      directory: atoll.dataDirectory,
      release,
    });
  }

  get output(): string {
    return this.#wrangler.output;
  }

  /** Of a tail with `--format json`. */
  get events(): ReadonlyArray<TailedEvent> {
    const whole = this.output.slice(0, this.output.lastIndexOf("\n}") + 2);
    const texts = whole.split(/(?<=^\})\n/m).filter((text) => text.trimStart().startsWith("{"));
    return texts.map((text) => JSON.parse(text) as TailedEvent);
  }

  /** Resolves when a tail with `--format pretty` says that it waits for logs. */
  async connected(times = 1): Promise<void> {
    await this.shows("waiting for logs", times);
  }

  async shows(text: string, times = 1): Promise<void> {
    await eventually(() => this.output.split(text).length > times, {
      what: `wrangler tail shows '${text}' ${times} times`,
      deadlineMs: 40_000,
    }).catch((error: unknown) => {
      throw new Error(`wrangler tail wrote:\n${this.output}`, { cause: error });
    });
  }

  get hasEnded(): boolean {
    return this.#wrangler.hasEnded;
  }

  async end(signal: "SIGINT" | "SIGKILL" = "SIGKILL"): Promise<void> {
    await this.#wrangler.end(signal);
  }
}
