import type { WorkerKey } from "@atoll/control-plane/contract";
import { NO_ANSWER_STATUS, type ServedRequest } from "../ingress.ts";

/** Follows one request from its head to its end, and reports it then. */
export class RequestMeter {
  readonly #worker: WorkerKey;
  readonly #onServed: (request: ServedRequest) => void;
  readonly #begunMs = performance.now();
  #isOver = false;
  /** The latest cell that had the request. */
  socketPath: string | undefined;
  status = NO_ANSWER_STATUS;
  bytesIn = 0;
  bytesOut = 0;
  /** No cell was to have it. */
  isRefused = false;

  constructor(worker: WorkerKey, onServed: (request: ServedRequest) => void) {
    this.#worker = worker;
    this.#onServed = onServed;
  }

  /** May be called twice. */
  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const { socketPath, status, bytesIn, bytesOut } = this;
    const refusal = this.isRefused ? ({ isRefused: true } as const) : {};
    const wallMs = Math.round(performance.now() - this.#begunMs);
    const measured = { socketPath, status, bytesIn, bytesOut, wallMs };
    this.#onServed({ worker: this.#worker, ...measured, ...refusal });
  }
}
