import type { RegionName, TestAtoll } from "./atoll.ts";

/** What came of a call of the binding: its result, or the message that it threw. */
export interface KvOutcome {
  readonly result?: unknown;
  readonly error?: string;
}

/** The binding of a worker made from the fixture `kv`, as seen in one region. */
export class KvWorker {
  readonly #atoll: TestAtoll;
  readonly #host: string;

  constructor(atoll: TestAtoll, host: string) {
    this.#atoll = atoll;
    this.#host = host;
  }

  /** Calls `env.KV[method](...parameters)`; see the fixture for what JSON can't hold. */
  async call(
    region: RegionName,
    method: string,
    ...parameters: ReadonlyArray<unknown>
  ): Promise<KvOutcome> {
    const answer = await this.#atoll.get(region, this.#host, "/", {
      method: "POST",
      body: JSON.stringify({ method, parameters }),
    });
    if (answer.status === 200) return JSON.parse(answer.body) as KvOutcome;
    throw new Error(`${this.#host} in ${region}: ${answer.status} ${answer.body.slice(0, 300)}`);
  }

  /** The result of a call that must not throw. */
  async result(
    region: RegionName,
    method: string,
    ...parameters: ReadonlyArray<unknown>
  ): Promise<unknown> {
    const { result, error } = await this.call(region, method, ...parameters);
    if (error === undefined) return result;
    throw new Error(`KV.${method} in ${region}: ${error}`);
  }
}
