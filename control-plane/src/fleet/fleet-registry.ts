import type {
  NodeName,
  NodeReport,
  Region,
  StateRevision,
  WorkerFailure,
} from "../contract/index.ts";
import { BoundedWaits } from "./bounded-waits.ts";

/** All that a node told on its connection, put together. */
type KnownReport = Required<Omit<NodeReport, "confinement">> & Pick<NodeReport, "confinement">;

/** What is known of a node from its current or last connection to a control plane. */
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

/**
 * The fleet as this control plane sees it now: in memory, because every node tells all of it anew. Of nodes
 * that another control plane has, it is what that one shares.
 */
export class FleetRegistry {
  readonly #own = new Map<NodeName, NodeStatus>();
  /** Nodes whose latest connection is not to this control plane. */
  #others: ReadonlyMap<NodeName, NodeStatus> = new Map();
  readonly #waits = new BoundedWaits();
  readonly #listeners = new Set<(status: NodeStatus) => void>();

  /** Takes what a node told on its connection to this control plane. */
  update(status: NodeStatus): void {
    this.#own.set(status.name, status);
    for (const listener of this.#listeners) listener(status);
    this.#waits.look();
  }

  /** Takes what other control planes tell of the nodes that they have, in place of what they told before. */
  setOthers(statuses: ReadonlyArray<NodeStatus>): void {
    this.#others = new Map(statuses.map((status) => [status.name, status]));
    this.#waits.look();
  }

  /** Calls back with each status that a node's connection here leads to. Returns its end. */
  onUpdate(listener: (status: NodeStatus) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Resolves when every connected node runs at least this revision, or after `waitMs`: a node that is
   * slow or just lost must not hold up whoever waits.
   */
  whenApplied(revision: StateRevision, waitMs: number): Promise<void> {
    return this.#waits.until(() => !this.#isBehind(revision), waitMs);
  }

  get(name: NodeName): NodeStatus | undefined {
    return this.#others.get(name) ?? this.#own.get(name);
  }

  #isBehind(revision: StateRevision): boolean {
    const names = new Set([...this.#own.keys(), ...this.#others.keys()]);
    return [...names].some((name) => {
      const node = this.get(name);
      return node !== undefined && node.connected && node.revision < revision;
    });
  }
}
