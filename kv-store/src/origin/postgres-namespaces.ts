import { LIMITS } from "../limits.ts";
import type { NamespaceId } from "../names.ts";
import { EMPTY_STATE } from "../state-digest.ts";
import type { PostgresConnections, Statement } from "./postgres-connections.ts";

const ADD: Statement = {
  name: "add_namespace",
  text: `INSERT INTO namespaces (namespace, digest, log_start_digest, written_ms, log_start_ms)
    VALUES ($1, $2, $2, $3, $3)
    ON CONFLICT (namespace) DO NOTHING`,
};
const REMOVE: Statement = {
  name: "remove_namespace",
  text: `WITH removed AS (DELETE FROM namespaces WHERE namespace = $1 RETURNING id)
    INSERT INTO removed_namespaces (id) SELECT id FROM removed`,
};
const REMOVED: Statement = {
  name: "removed_namespaces",
  text: "SELECT id FROM removed_namespaces LIMIT 1",
};
const SWEEP: ReadonlyArray<Statement> = ["entries", "log"].map((table) => ({
  name: `sweep_${table}`,
  text: `WITH swept AS (
      DELETE FROM ${table}
      WHERE ctid = ANY(ARRAY(SELECT ctid FROM ${table} WHERE namespace_id = $1 LIMIT $2))
      RETURNING 1
    ) SELECT count(*) AS count FROM swept`,
}));
const FORGET: Statement = {
  name: "forget_namespace",
  text: `WITH hold AS (DELETE FROM log_holds WHERE namespace_id = $1)
    DELETE FROM removed_namespaces WHERE id = $1`,
};

/** Which namespaces there are, and what is left of those that are gone. */
export class PostgresNamespaces {
  readonly #connections: PostgresConnections;

  constructor(connections: PostgresConnections) {
    this.#connections = connections;
  }

  async add(namespace: NamespaceId, nowMs: number): Promise<void> {
    await this.#connections.run(ADD, [namespace, Buffer.from(EMPTY_STATE, "hex"), nowMs]);
  }

  /** Removes the row by which the namespace is found, and leaves the others to `sweepRemoved`. */
  async remove(namespace: NamespaceId): Promise<void> {
    await this.#connections.run(REMOVE, [namespace]);
  }

  /** Removes what is left, some rows at a time. Others may do so at the same time. */
  async sweepRemoved(): Promise<void> {
    for (;;) {
      const [removed] = await this.#connections.run<{ id: number }>(REMOVED, []);
      if (removed === undefined) return;
      for (const statement of SWEEP) await this.#sweep(statement, removed.id);
      await this.#connections.run(FORGET, [removed.id]);
    }
  }

  async #sweep(statement: Statement, id: number): Promise<void> {
    const rowsMax = LIMITS.sweepRowsMax;
    for (;;) {
      const [swept] = await this.#connections.run<{ count: number }>(statement, [id, rowsMax]);
      if (swept === undefined || swept.count < rowsMax) return;
    }
  }
}
