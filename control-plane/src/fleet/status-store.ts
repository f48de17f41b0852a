import type { ExpressionBuilder } from "kysely";
import { NodeName, StateRevision } from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import type { Schema } from "../database/schema.ts";

/** What a control plane shares of a node. */
export interface SharedStatus {
  readonly node: NodeName;
  readonly controlPlane: string;
  readonly connected: boolean;
  readonly revision: StateRevision;
  readonly alive: number;
  readonly written: number;
  readonly document: string;
}

type Writing = Omit<SharedStatus, "alive" | "written">;

/** The rows of what control planes on one database share of their nodes. Each is changed by one statement. */
export class StatusStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Makes the node that of the status's control plane. */
  async takeOver(status: Writing): Promise<void> {
    await this.#database
      .insertInto("node_statuses")
      .values({ node: status.node, ...columnsOf(status), alive: 1, written: 1 })
      .onConflict((conflict) =>
        conflict.column("node").doUpdateSet((row) => ({ ...columnsOf(status), ...countUp(row) })),
      )
      .execute();
  }

  /** Does nothing when the node has gone to another control plane since. */
  async update(status: Writing): Promise<void> {
    await this.#database
      .updateTable("node_statuses")
      .set((row) => ({ ...columnsOf(status), ...countUp(row) }))
      .where("node", "=", status.node)
      .where("control_plane", "=", status.controlPlane)
      .execute();
  }

  /** Shows the others that a control plane lives. */
  async showAlive(controlPlane: string): Promise<void> {
    await this.#database
      .updateTable("node_statuses")
      .set((row) => ({ alive: row("node_statuses.alive", "+", 1) }))
      .where("control_plane", "=", controlPlane)
      .where("connected", "=", 1)
      .execute();
  }

  async disconnectAll(controlPlane: string): Promise<void> {
    await this.#database
      .updateTable("node_statuses")
      .set({ connected: 0 })
      .where("control_plane", "=", controlPlane)
      .execute();
  }

  /** The nodes of all control planes but one. */
  async listOthers(controlPlane: string): Promise<ReadonlyArray<Omit<SharedStatus, "document">>> {
    const rows = await this.#database
      .selectFrom("node_statuses")
      .select(["node", "control_plane", "connected", "revision", "alive", "written"])
      .where("control_plane", "!=", controlPlane)
      .execute();
    return rows.map((row) => ({
      node: NodeName.parse(row.node),
      controlPlane: row.control_plane,
      connected: row.connected === 1,
      revision: StateRevision.parse(row.revision),
      alive: row.alive,
      written: row.written,
    }));
  }

  async documents(nodes: ReadonlyArray<NodeName>): Promise<ReadonlyMap<NodeName, string>> {
    if (nodes.length === 0) return new Map();
    const rows = await this.#database
      .selectFrom("node_statuses")
      .select(["node", "document"])
      .where("node", "in", nodes)
      .execute();
    return new Map(rows.map(({ node, document }) => [NodeName.parse(node), document]));
  }
}

function columnsOf({ controlPlane, connected, revision, document }: Writing) {
  return { control_plane: controlPlane, connected: connected ? 1 : 0, revision, document };
}

function countUp(row: ExpressionBuilder<Schema, "node_statuses">) {
  return {
    alive: row("node_statuses.alive", "+", 1),
    written: row("node_statuses.written", "+", 1),
  };
}
