import { type IngressHarness, within } from "./ingress-harness.ts";

/** Clients that ask one after another until they are stopped. */
export class EndlessClients {
  /** The status or error of what they asked, each once. */
  readonly outcomes = new Set<string>();
  /** How often they were answered. */
  answered = 0;
  readonly #harness: IngressHarness;
  readonly #clients: ReadonlyArray<Promise<void>>;
  #isStopped = false;

  /** Starts one for each of these methods. */
  constructor(harness: IngressHarness, methods: ReadonlyArray<string>) {
    this.#harness = harness;
    this.#clients = methods.map((method) => this.#ask(method));
  }

  /** Resolves when the last of them is answered. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await within(Promise.all(this.#clients), "the last answers");
  }

  async #ask(method: string): Promise<void> {
    while (!this.#isStopped) {
      const outcome = await this.#harness.call({ method }).then(
        ({ status }) => String(status),
        (error: Error) => error.message,
      );
      this.outcomes.add(outcome);
      this.answered += 1;
    }
  }
}
