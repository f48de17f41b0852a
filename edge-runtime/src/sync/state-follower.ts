import {
  decodeMessage,
  isSignedState,
  StateChange,
  type DesiredWorker,
  type StateRevision,
  type WorkerFailure,
  type WorkerKey,
} from "@atoll/control-plane/contract";
import type { Logger } from "pino";
import { EdgeError } from "../errors.ts";
import { EMPTY_STATE, type NodeState, type StateStore } from "./state-store.ts";

/**
 * Makes workers run on this node. Resolves when they do, with those that could not be made to run and
 * stay on what ran before.
 */
type RunWorkers = (workers: ReadonlyArray<DesiredWorker>) => Promise<ReadonlyArray<WorkerFailure>>;

/** What became of a received change. `gap`: it does not follow what runs here; ask for what does. */
export type ChangeOutcome =
  | {
      readonly kind: "applied";
      readonly revision: StateRevision;
      readonly failures: ReadonlyArray<WorkerFailure>;
    }
  | { readonly kind: "refused"; readonly revision: StateRevision; readonly reason: string }
  | { readonly kind: "gap" };

export interface StateFollowerOptions {
  readonly store: StateStore;
  readonly fleetKey: string;
  readonly run: RunWorkers;
  readonly log: Logger;
}

/**
 * Follows the fleet's desired state: verifies, orders, applies and persists each change, one at a time.
 * Never older over newer; what runs is what is on disk.
 */
export class StateFollower {
  readonly #options: StateFollowerOptions;
  /** On disk. */
  #state: NodeState = EMPTY_STATE;
  /** What runs instead, while it can't be saved. */
  #unsaved: NodeState | undefined;
  /** Of the workers that the state has as failed. */
  #failures: ReadonlyArray<WorkerFailure> = [];
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: StateFollowerOptions) {
    this.#options = options;
  }

  /** The last revision that runs here and is on disk. */
  get revision(): StateRevision {
    return this.#state.revision;
  }

  /** Runs what this node ran last, before anybody is asked. */
  async restore(): Promise<void> {
    const state = await this.#options.store.load();
    if (state.revision === 0) return;
    let failures = await this.#options.run(state.workers);
    // Once what served is there to stay on: what failed may well do so again.
    if (state.failed.length > 0) failures = await this.#options.run(wantedWorkers(state));
    this.#state = settle({ previous: state, wanted: state, failures });
    this.#failures = failures;
    this.#options.log.info(
      { revision: state.revision, workers: state.workers.length },
      "serving the last state from disk",
    );
  }

  /** Handles one signed change after all earlier ones. Rejects only when the disk does. */
  receive(signed: {
    readonly body: Uint8Array;
    readonly signature: Uint8Array;
  }): Promise<ChangeOutcome> {
    return this.#afterEarlier(() => this.#handle(signed));
  }

  /**
   * Tries again what failed, after all earlier changes: what kept it, such as content that could not be had, may be
   * over, and the next change may be far. `undefined` when nothing has failed. Rejects only when the disk does.
   */
  retryFailed(): Promise<ChangeOutcome | undefined> {
    return this.#afterEarlier(async () => {
      // Not what is on disk: that would take back what runs.
      if (this.#unsaved !== undefined) return this.#bringAbout(this.#unsaved);
      return this.#state.failed.length === 0 ? undefined : this.#bringAbout(this.#state);
    });
  }

  #afterEarlier<Result>(action: () => Promise<Result>): Promise<Result> {
    const handled = this.#last.then(action);
    this.#last = handled.catch(() => undefined);
    return handled;
  }

  async #handle(signed: {
    readonly body: Uint8Array;
    readonly signature: Uint8Array;
  }): Promise<ChangeOutcome> {
    let change: StateChange;
    try {
      change = this.#open(signed);
    } catch (error) {
      this.#options.log.error({ err: error }, "refused a desired state");
      const reason = error instanceof Error ? error.message : String(error);
      return { kind: "refused", revision: this.revision, reason: reason.slice(0, 2_000) };
    }
    if (change.revision < this.revision) {
      const reason = `revision ${change.revision} is older than ${this.revision}, which runs here`;
      this.#options.log.warn({ reason }, "refused a desired state");
      return { kind: "refused", revision: change.revision, reason };
    }
    if (change.revision === this.revision) {
      return { kind: "applied", revision: this.revision, failures: this.#failures };
    }
    if (change.kind === "delta" && change.from !== this.revision) return { kind: "gap" };
    return this.#bringAbout(merge(this.#state, change));
  }

  #open(signed: { readonly body: Uint8Array; readonly signature: Uint8Array }): StateChange {
    if (!isSignedState(this.#options.fleetKey, signed)) {
      throw new EdgeError("state_refused", "the state is not signed by this fleet's key");
    }
    try {
      return decodeMessage(StateChange, signed.body);
    } catch (cause) {
      throw new EdgeError("state_refused", "the state is signed, but not of the contract", {
        cause,
      });
    }
  }

  async #bringAbout(wanted: NodeState): Promise<ChangeOutcome> {
    const failures = await this.#options.run(wantedWorkers(wanted));
    const settled = settle({ previous: this.#unsaved ?? this.#state, wanted, failures });
    this.#unsaved = settled;
    // On disk before it is acknowledged: a node never says that it has what a restart would lose.
    await this.#options.store.save(settled);
    this.#unsaved = undefined;
    this.#state = settled;
    this.#failures = failures;
    const { revision } = settled;
    for (const failure of failures) {
      this.#options.log.error(failure, "a worker stays on what it ran before");
    }
    this.#options.log.info({ revision, workers: settled.workers.length }, "applied desired state");
    return { kind: "applied", revision, failures };
  }
}

/** Names a worker across accounts. */
export function workerKey(worker: DesiredWorker): WorkerKey {
  return `${worker.account}/${worker.name}`;
}

/** All that should run: what does, and what failed before and gets another try. */
function wantedWorkers(state: NodeState): ReadonlyArray<DesiredWorker> {
  const wanted = byKey(state.workers);
  for (const worker of state.failed) wanted.set(workerKey(worker), worker);
  return [...wanted.values()];
}

function merge(state: NodeState, change: StateChange): NodeState {
  if (change.kind === "snapshot") {
    return { revision: change.revision, workers: change.workers, failed: [] };
  }
  const changed = byKey(change.upserts);
  const isUntouched = (worker: DesiredWorker): boolean =>
    !changed.has(workerKey(worker)) && !change.removals.includes(workerKey(worker));
  return {
    revision: change.revision,
    workers: [...state.workers.filter(isUntouched), ...changed.values()],
    failed: state.failed.filter(isUntouched),
  };
}

/** The state that really runs: a worker that failed is as it was before, and remembered as failed. */
function settle(options: {
  readonly previous: NodeState;
  readonly wanted: NodeState;
  readonly failures: ReadonlyArray<WorkerFailure>;
}): NodeState {
  const failed = new Set(options.failures.map((failure) => failure.worker));
  const before = byKey(options.previous.workers);
  const wanted = wantedWorkers(options.wanted);
  const running = wanted.flatMap((worker) => {
    if (!failed.has(workerKey(worker))) return [worker];
    const previous = before.get(workerKey(worker));
    return previous === undefined ? [] : [previous];
  });
  return {
    revision: options.wanted.revision,
    workers: running,
    failed: wanted.filter((worker) => failed.has(workerKey(worker))),
  };
}

function byKey(workers: ReadonlyArray<DesiredWorker>): Map<WorkerKey, DesiredWorker> {
  return new Map(workers.map((worker) => [workerKey(worker), worker]));
}
