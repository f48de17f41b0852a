import type { Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import { z } from "zod";
import { NodeReport, Region, WorkerFailure, type NodeName } from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import { DatabaseLooks } from "../database/database-looks.ts";
import { LIMITS } from "../limits.ts";
import { EMPTY_REPORT, type FleetRegistry, type NodeStatus } from "./fleet-registry.ts";
import { StatusStore, type SharedStatus } from "./status-store.ts";

/** All that is shared of a node beside what has a column. Written by an earlier or later release, too. */
const SharedDocument = z.object({
  region: Region,
  ingressUrl: z.string().optional(),
  failures: z.array(WorkerFailure),
  report: NodeReport,
});

/** What another control plane shares of a node. */
interface Other {
  readonly row: Omit<SharedStatus, "document">;
  readonly status: NodeStatus;
  /** How long that one was not seen alive, while it could have been. */
  readonly silentMs: number;
}

/** What was last written of a node that has, or had, its connection here. */
interface Written {
  readonly connected: boolean;
  readonly revision: number;
  readonly failures: NodeStatus["failures"];
  readonly atMs: number;
}

/**
 * Makes one fleet of the nodes of all control planes on a database: writes what the nodes here tell, and
 * puts what others wrote into the registry. What a deploy waits for (connections, revisions, failures) is
 * written at once; reports, which people look at, at most every `LIMITS.reportShareMs`.
 */
export class FleetView {
  readonly #id: string;
  readonly #store: StatusStore;
  readonly #registry: FleetRegistry;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #tell: () => void;
  readonly #written = new Map<NodeName, Written>();
  readonly #unwritten = new Map<NodeName, NodeStatus>();
  /** Nodes whose connection here is newer than what is written of them. */
  readonly #arrived = new Set<NodeName>();
  /** What those told last that have their connection here. */
  readonly #connected = new Map<NodeName, NodeStatus>();
  readonly #others = new Map<NodeName, Other>();
  readonly #looks: DatabaseLooks;
  readonly #stop: () => void;
  /** Whether something is to be written at once. */
  #isUrgent = false;
  #aliveAtMs = 0;
  #readAtMs: number;

  constructor(parts: {
    /** Of this control plane. */
    readonly id: string;
    readonly database: Database;
    readonly registry: FleetRegistry;
    readonly clock: Clock;
    readonly log: Logger;
    /** Called when the others should look. */
    readonly tell: () => void;
  }) {
    this.#id = parts.id;
    this.#store = new StatusStore(parts.database);
    this.#registry = parts.registry;
    this.#clock = parts.clock;
    this.#log = parts.log;
    this.#tell = parts.tell;
    this.#readAtMs = parts.clock.monotonicMs();
    this.#stop = parts.registry.onUpdate((status) => this.#take(status));
    this.#looks = new DatabaseLooks({
      ...{ clock: parts.clock, log: parts.log },
      failure: "the fleet could not be shared with other control planes",
      look: async () => {
        await this.#write();
        await this.#read();
      },
    });
  }

  /** Writes what there is to write, and reads what others wrote. Returns at once. */
  look(): void {
    this.#looks.ask();
  }

  /** Says that no node is connected here any more. May be called twice. */
  async close(): Promise<void> {
    this.#stop();
    await this.#looks.close();
    try {
      await this.#store.disconnectAll(this.#id);
      this.#tell();
    } catch (error) {
      // Others find out in that this control plane no longer shows that it lives.
      this.#log.warn(
        { err: error },
        "other control planes could not be told of the end of this one",
      );
    }
  }

  #take(status: NodeStatus): void {
    const { name, connected } = status;
    this.#unwritten.set(name, status);
    if (!connected) {
      this.#connected.delete(name);
      this.#arrived.delete(name);
    } else {
      if (!this.#connected.has(name)) this.#arrived.add(name);
      this.#connected.set(name, status);
    }
    if (!this.#isNews(status)) return;
    this.#isUrgent = true;
    this.look();
  }

  async #write(): Promise<void> {
    const isUrgent = this.#isUrgent;
    this.#isUrgent = false;
    try {
      for (const status of [...this.#unwritten.values()]) await this.#writeOne(status);
    } catch (error) {
      this.#isUrgent ||= isUrgent;
      throw error;
    }
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#aliveAtMs >= LIMITS.controlPlaneAliveMs) {
      this.#aliveAtMs = nowMs;
      await this.#store.showAlive(this.#id);
    }
    if (isUrgent) this.#tell();
  }

  async #writeOne(status: NodeStatus): Promise<void> {
    const { name, connected, revision, failures } = status;
    const atMs = this.#clock.monotonicMs();
    const isRecent = atMs - (this.#written.get(name)?.atMs ?? -Infinity) < LIMITS.reportShareMs;
    if (isRecent && !this.#isNews(status)) return;
    const row = {
      node: name,
      controlPlane: this.#id,
      connected,
      revision,
      document: JSON.stringify(documentOf(status)),
    };
    // A connection is the node's own latest choice. What follows on it counts as long as it is that.
    if (this.#arrived.has(name)) await this.#store.takeOver(row);
    else await this.#store.update(row);
    this.#arrived.delete(name);
    this.#written.set(name, { connected, revision, failures, atMs });
    if (this.#unwritten.get(name) === status) this.#unwritten.delete(name);
  }

  /** Whether it says what others wait for. */
  #isNews({ name, connected, revision, failures }: NodeStatus): boolean {
    const written = this.#written.get(name);
    return (
      this.#arrived.has(name) ||
      written?.connected !== connected ||
      written.revision !== revision ||
      written.failures !== failures
    );
  }

  async #read(): Promise<void> {
    const rows = await this.#store.listOthers(this.#id);
    const isKnown = (row: (typeof rows)[number]): boolean => {
      const other = this.#others.get(row.node);
      return other?.row.written === row.written && other.row.controlPlane === row.controlPlane;
    };
    const changed = rows.filter((row) => !isKnown(row)).map(({ node }) => node);
    const documents = await this.#store.documents(changed);
    const nowMs = this.#clock.monotonicMs();
    // What passed while the database was away says nothing about who lives.
    const passedMs = Math.min(nowMs - this.#readAtMs, 2 * LIMITS.stateLookMs);
    this.#readAtMs = nowMs;
    const found = new Map<NodeName, Other>();
    for (const row of rows) {
      const other = this.#others.get(row.node);
      const document = documents.get(row.node);
      const isAlive = other?.row.alive !== row.alive || other.row.controlPlane !== row.controlPlane;
      const silentMs = isAlive ? 0 : other.silentMs + passedMs;
      const known = document === undefined ? other?.status : statusOf(row, document);
      if (known === undefined) continue; // gone between the two reads
      const connected = row.connected && silentMs < LIMITS.controlPlaneSilenceMs;
      found.set(row.node, {
        row,
        silentMs,
        status: { ...known, connected, revision: row.revision },
      });
    }
    this.#others.clear();
    for (const [name, other] of found) this.#others.set(name, other);
    this.#registry.setOthers([...found.values()].map(({ status }) => status));
    for (const row of rows) if (!row.connected) this.#reclaim(row.node);
  }

  /**
   * Another one wrote last that it has the node, and later that it has it no more: after this one had written the
   * same, when the database kept either waiting. What follows on the connection here would be written nowhere.
   */
  #reclaim(name: NodeName): void {
    const status = this.#connected.get(name);
    if (status === undefined) return;
    this.#arrived.add(name);
    this.#unwritten.set(name, status);
    this.#isUrgent = true;
    this.look();
  }
}

function documentOf({ region, ingressUrl, failures, report }: NodeStatus): unknown {
  return { region, ingressUrl, failures, report };
}

function statusOf(row: Omit<SharedStatus, "document">, document: string): NodeStatus {
  const { region, ingressUrl, failures, report } = SharedDocument.parse(JSON.parse(document));
  return {
    ...{ name: row.node, region, connected: row.connected, failures },
    revision: row.revision,
    ...(ingressUrl === undefined ? {} : { ingressUrl }),
    report: { ...EMPTY_REPORT, ...report },
  };
}
