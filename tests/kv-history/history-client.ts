import { setTimeout as wait } from "node:timers/promises";
import { request } from "undici";
import type { RegionName, TestAtoll } from "../support/atoll.ts";
import type { CallSource } from "./calls.ts";
import type { Recorder, Told } from "./recorder.ts";

const CALLS_PER_REQUEST = 200;
// A node that was killed takes seconds to come back: it is asked again this often.
const RETRY_MS = 100;
// A request's calls take a second; those of one whose writes all wait for a dead origin, minutes.
const REQUEST_MS = 120_000;

export const CLIENT_HOST = "history.localhost";

/** One client, which asks one thing after another of one node, whatever becomes of that. */
export class HistoryClient {
  readonly #atoll: TestAtoll;
  readonly #node: RegionName;
  readonly #session: string;
  readonly #source: CallSource;
  readonly #recorder: Recorder;

  constructor(options: {
    readonly atoll: TestAtoll;
    readonly node: RegionName;
    readonly session: string;
    readonly source: CallSource;
    readonly recorder: Recorder;
  }) {
    this.#atoll = options.atoll;
    this.#node = options.node;
    this.#session = options.session;
    this.#source = options.source;
    this.#recorder = options.recorder;
  }

  /** Makes calls until so many operations of all clients are answered. */
  async run(operations: number): Promise<void> {
    const client = { node: this.#node, session: this.#session };
    while (this.#recorder.answered < operations) {
      const calls = Array.from({ length: CALLS_PER_REQUEST }, () => this.#source.next());
      this.#recorder.announce(calls);
      const begunMs = Date.now();
      const told: Told[] = [];
      try {
        for await (const line of this.#lines({ calls })) told.push(line as Told); // as the worker writes it
      } catch {
        // The node was killed: what it said before counts, and it is asked again.
        await wait(RETRY_MS);
      }
      this.#recorder.take(client, calls, { begunMs, told });
    }
  }

  async *#lines(content: unknown): AsyncGenerator {
    yield* answerLines(this.#atoll, this.#node, { path: "/", body: JSON.stringify(content) });
  }
}

/** The lines of the worker's answer in a region, as they come; throws when it is cut. */
export async function* answerLines(
  atoll: TestAtoll,
  region: RegionName,
  call: { readonly path: string; readonly body?: string },
): AsyncGenerator {
  const { url, port } = atoll.regions[region];
  const { statusCode, body } = await request(`${url}${call.path}`, {
    method: call.body === undefined ? "GET" : "POST",
    headers: { host: `${CLIENT_HOST}:${port}` },
    body: call.body ?? null,
    signal: AbortSignal.timeout(REQUEST_MS),
  });
  if (statusCode !== 200) throw new Error(`${region} answered ${statusCode} ${await body.text()}`);
  let rest = "";
  for await (const piece of body.setEncoding("utf8")) {
    const lines = (rest + String(piece)).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) yield JSON.parse(line);
  }
}
