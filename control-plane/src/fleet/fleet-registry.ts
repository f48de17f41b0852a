import type {
  NodeName,
  NodeReport,
  Region,
  StateRevision,
  WorkerFailure,
} from "../contract/index.ts";

/** All that a node told on its connection, put together. */
type KnownReport = Required<Omit<NodeReport, "confinement">> & Pick<NodeReport, "confinement">;

/** What is known of a node from its current or last connection to this control plane. */
export interface NodeStatus {
  readonly name: NodeName;
  readonly region: Region;
  readonly connected: boolean;
  /** Where it serves; absent before its first connection. */
  readonly ingressUrl?: string;
  /** The last revision that it acknowledged. */
  readonly revision: StateRevision;
  /** Workers whose desired version does not run there. */
  readonly failures: ReadonlyArray<WorkerFailure>;
  readonly report: KnownReport;
}

export const EMPTY_REPORT: KnownReport = { cells: [], kv: [], cellFaults: [], cellEnds: {} };

/** The fleet as this control plane sees it now: in memory, because every node tells all of it anew. */
export class FleetRegistry {
  readonly #nodes = new Map<NodeName, NodeStatus>();
  readonly #waiting = new Set<() => void>();

  update(status: NodeStatus): void {
    this.#nodes.set(status.name, status);
    for (const look of this.#waiting) look();
  }

  /**
   * Resolves when every connected node runs at least this revision, or after `waitMs`: a node that is
   * slow or just lost must not hold up whoever waits.
   */
  whenApplied(revision: StateRevision, waitMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const look = (): void => {
      const nodes = [...this.#nodes.values()];
      if (nodes.every((node) => !node.connected || node.revision >= revision)) resolve();
    };
    const timer = setTimeout(resolve, waitMs);
    this.#waiting.add(look);
    look();
    return promise.finally(() => {
      clearTimeout(timer);
      this.#waiting.delete(look);
    });
  }

  get(name: NodeName): NodeStatus | undefined {
    return this.#nodes.get(name);
  }
}
