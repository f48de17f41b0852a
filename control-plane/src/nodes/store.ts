import { NodeName, Region } from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import type { Schema } from "../database/schema.ts";
import type { StoredCredential } from "../secrets/credential.ts";
import type { EnrolledNode } from "./schemas.ts";

export interface StoredJoinToken {
  readonly credential: StoredCredential;
  readonly expiresAt: string;
  readonly isUsed: boolean;
}

/** A node beside what is kept of its credential. */
export interface StoredNode {
  readonly node: EnrolledNode;
  readonly credential: StoredCredential;
}

/** Join tokens and the nodes that used them. */
export class NodeStore {
  async insertJoinToken(
    database: Database,
    token: { readonly credential: StoredCredential; readonly expiresAt: string },
  ): Promise<void> {
    const { id, hash } = token.credential;
    const row = { id, token_hash: hash, expires_at: token.expiresAt, used_at: null };
    await database.insertInto("join_tokens").values(row).execute();
  }

  async findJoinToken(transaction: Transaction, id: string): Promise<StoredJoinToken | undefined> {
    const row = await transaction
      .selectFrom("join_tokens")
      .selectAll()
      .where("id", "=", id)
      .executeTakeFirst();
    if (row === undefined) return undefined;
    return {
      credential: { id: row.id, hash: row.token_hash },
      expiresAt: row.expires_at,
      isUsed: row.used_at !== null,
    };
  }

  /** Whether this call used the token up; of two that race, one is told `false`. */
  async useJoinToken(transaction: Transaction, id: string, at: string): Promise<boolean> {
    const result = await transaction
      .updateTable("join_tokens")
      .set({ used_at: at })
      .where("id", "=", id)
      .where("used_at", "is", null)
      .executeTakeFirst();
    return result.numUpdatedRows === 1n;
  }

  /** Adds the node, or replaces one of the same name with all it had. */
  async put(transaction: Transaction, { node, credential }: StoredNode): Promise<void> {
    await transaction.deleteFrom("nodes").where("name", "=", node.name).execute();
    const row = {
      name: node.name,
      region: node.region,
      credential_id: credential.id,
      credential_hash: credential.hash,
      sealing_key: Buffer.from(node.sealingKey).toString("base64"),
      enrolled_at: node.enrolledAt,
      last_seen_at: node.lastSeenAt,
      // It starts with nothing on its disk, so it counts its batches of usage from the beginning.
      usage_sequence: 0,
    };
    await transaction.insertInto("nodes").values(row).execute();
  }

  async findByCredential(database: Database, id: string): Promise<StoredNode | undefined> {
    const row = await database
      .selectFrom("nodes")
      .selectAll()
      .where("credential_id", "=", id)
      .executeTakeFirst();
    if (row === undefined) return undefined;
    return { node: toNode(row), credential: { id: row.credential_id, hash: row.credential_hash } };
  }

  async touch(database: Database, name: NodeName, at: string): Promise<void> {
    await database
      .updateTable("nodes")
      .set({ last_seen_at: at })
      .where("name", "=", name)
      .execute();
  }

  async list(database: Database): Promise<ReadonlyArray<EnrolledNode>> {
    const rows = await database.selectFrom("nodes").selectAll().orderBy("name").execute();
    return rows.map(toNode);
  }
}

function toNode(row: Schema["nodes"]): EnrolledNode {
  return {
    name: NodeName.parse(row.name),
    region: Region.parse(row.region),
    sealingKey: Buffer.from(row.sealing_key, "base64"),
    enrolledAt: row.enrolled_at,
    lastSeenAt: row.last_seen_at,
  };
}
