import type { Activator, Ingress, RequestCounts } from "../ingress/ingress.ts";
import type { TargetKey } from "../ingress/target-key.ts";
import { askCell } from "./cell-client.ts";

export interface RoutedAnswer {
  readonly status: number;
  readonly body: string;
  /** Whether it waited for a start. */
  readonly isCold: boolean;
}

/**
 * The ingress as the supervisor sees it, for tests: it sends requests to the published sockets, asks the
 * activator where none is published, and knows what is in flight. Nothing is retried, so a request that
 * met a cell on its way out fails the test.
 */
export class RoutedCells implements Pick<Ingress, "publish" | "drain" | "requestsOf" | "settled"> {
  readonly published = new Map<TargetKey, ReadonlyArray<string>>();
  readonly #inFlight = new Map<string, number>();
  readonly #begun = new Map<string, number>();
  readonly #drained: Array<() => void> = [];

  publish(target: TargetKey, socketPaths: ReadonlyArray<string>): void {
    if (socketPaths.length === 0) this.published.delete(target);
    else this.published.set(target, socketPaths);
  }

  async drain(socketPath: string): Promise<void> {
    while ((this.#inFlight.get(socketPath) ?? 0) > 0) {
      await new Promise<void>((resolve) => this.#drained.push(resolve));
    }
  }

  /** What has not taken effect yet; a test replaces it. */
  settling: Promise<void> = Promise.resolve();

  settled(): Promise<void> {
    return this.settling;
  }

  async requestsOf(socketPath: string): Promise<RequestCounts> {
    return {
      begun: this.#begun.get(socketPath) ?? 0,
      inFlight: this.#inFlight.get(socketPath) ?? 0,
    };
  }

  async ask(target: TargetKey, activator: Pick<Activator, "activate">): Promise<RoutedAnswer> {
    const known = this.published.get(target)?.[0];
    const activation =
      known === undefined ? await activator.activate(target) : { socketPath: known };
    const { socketPath } = activation;
    this.#begun.set(socketPath, (this.#begun.get(socketPath) ?? 0) + 1);
    this.#count(socketPath, 1);
    try {
      const { status, body } = await askCell({ socketPath, timeoutMs: 10_000 });
      return { status, body, isCold: activation.coldMs !== undefined };
    } finally {
      this.#count(socketPath, -1);
      for (const resume of this.#drained.splice(0)) resume();
    }
  }

  #count(socketPath: string, change: number): void {
    this.#inFlight.set(socketPath, (this.#inFlight.get(socketPath) ?? 0) + change);
  }
}
