import type { Database } from "../database/database.ts";

/** Where a control plane is, and the sign of its life. */
export interface PeerRow {
  readonly id: string;
  readonly url: string;
  readonly alive: number;
}

/** The rows of the control planes on one database. Each is changed by one statement. */
export class PeerStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async showAlive({ id, url }: Omit<PeerRow, "alive">): Promise<void> {
    await this.#database
      .insertInto("control_planes")
      .values({ id, url, alive: 1 })
      .onConflict((conflict) =>
        conflict
          .column("id")
          .doUpdateSet((row) => ({ alive: row("control_planes.alive", "+", 1) })),
      )
      .execute();
  }

  async remove(id: string): Promise<void> {
    await this.#database.deleteFrom("control_planes").where("id", "=", id).execute();
  }

  /** Removes one unless it has shown since that it lives. */
  async removeSilent({ id, alive }: PeerRow): Promise<void> {
    await this.#database
      .deleteFrom("control_planes")
      .where("id", "=", id)
      .where("alive", "=", alive)
      .execute();
  }

  async listOthers(id: string): Promise<ReadonlyArray<PeerRow>> {
    return this.#database
      .selectFrom("control_planes")
      .select(["id", "url", "alive"])
      .where("id", "!=", id)
      .execute();
  }
}
