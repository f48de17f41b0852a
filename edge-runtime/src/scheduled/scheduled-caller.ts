import type { ScheduledEvent, ScheduledOutcome, WorkerKey } from "@atoll/control-plane/contract";
import type { CellSupervisor } from "../cells/cell-supervisor.ts";
import { askCell } from "../cells/cell-client.ts";
import type { WarmCell } from "../cells/warm-cell.ts";
import { TriggerAnswer, type TriggerCall } from "../config/trigger-service.ts";
import { EdgeError } from "../errors.ts";
import type { OnServed } from "../ingress/ingress.ts";
import type { TargetKey } from "../ingress/target-key.ts";
import { LIMITS } from "../limits.ts";

/** How a call ended. */
export interface CallEnd {
  readonly outcome: ScheduledOutcome;
  /** The worker wants no further attempt. */
  readonly isFinal: boolean;
  readonly wallMs: number;
}

export interface ScheduledCallerOptions {
  readonly supervisor: Pick<CellSupervisor, "cellFor" | "lossOf">;
  /** Which version a call goes to, by a name that is the same for each attempt; the worker's own if absent. */
  readonly targetOf?: (worker: WorkerKey, name: string) => TargetKey;
  /** Whether a worker's account has used up its day. */
  readonly isRefused?: (worker: WorkerKey) => boolean;
  /** Counts each call as a request of its worker. */
  readonly onServed: OnServed;
  /** Hears of a call that no cell can tell: the cell was ended for a limit, or was not to have it. */
  readonly onLost?: (call: Omit<ScheduledEvent, "run">, outcome: ScheduledOutcome) => void;
  /** By default `LIMITS.scheduledMs`. */
  readonly timeoutMs?: number;
}

type CallResult = Omit<CallEnd, "wallMs">;

/** Calls workers' `scheduled()` in their cells, where they have the limits that they have for requests. */
export class ScheduledCaller {
  readonly #options: ScheduledCallerOptions;

  constructor(options: ScheduledCallerOptions) {
    this.#options = options;
  }

  /** Resolves when the handler and all that it waits for has ended, however that was. Never rejects. */
  async call({ worker, cron, scheduledMs }: Omit<ScheduledEvent, "run">): Promise<CallEnd> {
    const begunMs = performance.now();
    if (this.#options.isRefused?.(worker) === true) {
      const outcome = "dayQuotaExceeded";
      this.#options.onLost?.({ worker, cron, scheduledMs }, outcome);
      // What is left of the day is longer than any attempt waits.
      return { outcome, isFinal: true, wallMs: 0 };
    }
    let cell: WarmCell;
    try {
      const name = `${worker} ${cron} ${scheduledMs}`;
      const target = this.#options.targetOf?.(worker, name) ?? worker;
      cell = await this.#options.supervisor.cellFor(target);
    } catch (error) {
      return { outcome: outcomeOf(error), isFinal: false, wallMs: since(begunMs) };
    }
    const socketPath = cell.triggerPath(worker);
    if (socketPath === undefined) {
      // The node is behind the control plane, or the worker has no code.
      return { outcome: "unavailable", isFinal: false, wallMs: since(begunMs) };
    }
    const result = await cell.events
      .run(() => this.#ask(socketPath, { cron, scheduledMs }))
      .catch(async (): Promise<CallResult> => ({
        outcome: await this.#lossOf(cell.socketPath(worker), since(begunMs)),
        isFinal: false,
      }));
    const wallMs = since(begunMs);
    if (isOverLimit(result.outcome)) {
      this.#options.onLost?.({ worker, cron, scheduledMs }, result.outcome);
    }
    this.#options.onServed({
      worker,
      socketPath: cell.socketPath(worker),
      status: result.outcome === "ok" ? 200 : 500,
      bytesIn: 0,
      bytesOut: 0,
      wallMs,
    });
    return { ...result, wallMs };
  }

  async #ask(socketPath: string, call: TriggerCall): Promise<CallResult> {
    const { status, body } = await askCell({
      socketPath,
      method: "POST",
      body: JSON.stringify(call),
      timeoutMs: this.#timeoutMs,
    });
    // The trigger is ours, and answers 200 unless its isolate can't run.
    if (status !== 200) return { outcome: "exception", isFinal: false };
    const { outcome, noRetry } = TriggerAnswer.parse(JSON.parse(body));
    return { outcome: outcome === "ok" ? "ok" : "exception", isFinal: noRetry };
  }

  /** Why no answer came. */
  async #lossOf(socketPath: string, wallMs: number): Promise<ScheduledOutcome> {
    const loss = await this.#options.supervisor.lossOf(socketPath);
    if (loss === "cpu_exceeded") return "exceededCpu";
    if (loss === "memory_exceeded") return "exceededMemory";
    return loss === "alive" && wallMs >= this.#timeoutMs ? "exceededTime" : "cellLost";
  }

  get #timeoutMs(): number {
    return this.#options.timeoutMs ?? LIMITS.scheduledMs;
  }
}

function isOverLimit(outcome: ScheduledOutcome): boolean {
  return outcome === "exceededCpu" || outcome === "exceededMemory";
}

/** Why there was no cell. */
function outcomeOf(error: unknown): ScheduledOutcome {
  if (!(error instanceof EdgeError)) return "unavailable";
  if (error.code === "cpu_exceeded") return "exceededCpu";
  return error.code === "memory_exceeded" ? "exceededMemory" : "unavailable";
}

function since(begunMs: number): number {
  return Math.round(performance.now() - begunMs);
}
