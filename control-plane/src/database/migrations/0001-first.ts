import type { Kysely } from "kysely";
import type { Migration } from "kysely/migration";

// A migration describes the schema of its own day, so it is not typed by today's.
type AnyDatabase = Kysely<unknown>;

/** Accounts, workers with all that belongs to them, the outbox, the audit trail, and nodes. */
export const first: Migration = {
  async up(database: AnyDatabase): Promise<void> {
    await createAccounts(database);
    await createDesiredState(database);
    await createWorkers(database);
    await createVersions(database);
    await createAssets(database);
    await createNodes(database);
  },
};

async function createAccounts(database: AnyDatabase): Promise<void> {
  await database.schema
    .createTable("accounts")
    .addColumn("id", "text", (column) => column.primaryKey())
    .addColumn("name", "text", (column) => column.notNull())
    .addColumn("created_at", "text", (column) => column.notNull())
    .execute();
  await database.schema
    .createTable("api_tokens")
    .addColumn("id", "text", (column) => column.primaryKey())
    .addColumn("account_id", "text", (column) => column.notNull().references("accounts.id"))
    .addColumn("name", "text", (column) => column.notNull())
    .addColumn("token_hash", "text", (column) => column.notNull())
    .addColumn("created_at", "text", (column) => column.notNull())
    .execute();
  await database.schema
    .createTable("kv_namespaces")
    .addColumn("id", "text", (column) => column.primaryKey())
    .addColumn("account_id", "text", (column) => column.notNull().references("accounts.id"))
    .addColumn("title", "text", (column) => column.notNull())
    .addColumn("created_at", "text", (column) => column.notNull())
    .addUniqueConstraint("kv_namespaces_title", ["account_id", "title"])
    .execute();
  await database.schema
    .createTable("audit")
    .addColumn("id", "text", (column) => column.primaryKey())
    .addColumn("at", "text", (column) => column.notNull())
    .addColumn("account_id", "text", (column) => column.notNull())
    .addColumn("token_id", "text", (column) => column.notNull())
    .addColumn("action", "text", (column) => column.notNull())
    .addColumn("subject", "text", (column) => column.notNull())
    .addColumn("details", "text", (column) => column.notNull())
    .execute();
  await database.schema
    .createIndex("audit_by_account")
    .on("audit")
    .columns(["account_id", "at"])
    .execute();
}

async function createDesiredState(database: AnyDatabase): Promise<void> {
  await database.schema
    .createTable("counters")
    .addColumn("name", "text", (column) => column.primaryKey())
    .addColumn("value", "bigint", (column) => column.notNull())
    .execute();
  await database.schema
    .createTable("state_changes")
    .addColumn("revision", "bigint", (column) => column.primaryKey())
    .addColumn("account_id", "text", (column) => column.notNull())
    .addColumn("worker", "text", (column) => column.notNull())
    .addColumn("at", "text", (column) => column.notNull())
    .execute();
}

async function createWorkers(database: AnyDatabase): Promise<void> {
  await database.schema
    .createTable("workers")
    .addColumn("id", "text", (column) => column.primaryKey())
    .addColumn("account_id", "text", (column) => column.notNull().references("accounts.id"))
    // Unique across accounts: the name is the host `<name>.<base domain>`.
    .addColumn("name", "text", (column) => column.notNull().unique())
    .addColumn("created_at", "text", (column) => column.notNull())
    .addColumn("modified_at", "text", (column) => column.notNull())
    .addColumn("is_on_subdomain", "integer", (column) => column.notNull())
    .addColumn("has_previews", "integer", (column) => column.notNull())
    .addColumn("settings", "text", (column) => column.notNull())
    .addColumn("version_number", "integer", (column) => column.notNull())
    .execute();
  await database.schema
    .createTable("routes")
    .addColumn("id", "text", (column) => column.primaryKey())
    .addColumn("account_id", "text", (column) => column.notNull().references("accounts.id"))
    .addColumn("worker_id", "text", (column) =>
      column.notNull().references("workers.id").onDelete("cascade"),
    )
    .addColumn("kind", "text", (column) => column.notNull())
    .addColumn("pattern", "text", (column) => column.notNull())
    .addColumn("created_at", "text", (column) => column.notNull())
    .addUniqueConstraint("routes_pattern", ["kind", "pattern"])
    .execute();
  await database.schema.createIndex("routes_by_worker").on("routes").column("worker_id").execute();
}

async function createVersions(database: AnyDatabase): Promise<void> {
  await database.schema
    .createTable("versions")
    .addColumn("id", "text", (column) => column.primaryKey())
    .addColumn("worker_id", "text", (column) =>
      column.notNull().references("workers.id").onDelete("cascade"),
    )
    .addColumn("number", "integer", (column) => column.notNull())
    .addColumn("created_at", "text", (column) => column.notNull())
    .addColumn("document", "text", (column) => column.notNull())
    .addColumn("notes", "text", (column) => column.notNull())
    .addUniqueConstraint("versions_number", ["worker_id", "number"])
    .execute();
  await database.schema
    .createTable("version_secrets")
    .addColumn("version_id", "text", (column) =>
      column.notNull().references("versions.id").onDelete("cascade"),
    )
    .addColumn("name", "text", (column) => column.notNull())
    .addColumn("sealed", "text", (column) => column.notNull())
    .addPrimaryKeyConstraint("version_secrets_key", ["version_id", "name"])
    .execute();
  await database.schema
    .createTable("deployments")
    .addColumn("id", "text", (column) => column.primaryKey())
    .addColumn("worker_id", "text", (column) =>
      column.notNull().references("workers.id").onDelete("cascade"),
    )
    .addColumn("number", "integer", (column) => column.notNull())
    .addColumn("created_at", "text", (column) => column.notNull())
    .addColumn("versions", "text", (column) => column.notNull())
    .addColumn("annotations", "text", (column) => column.notNull())
    .addUniqueConstraint("deployments_number", ["worker_id", "number"])
    .execute();
}

async function createAssets(database: AnyDatabase): Promise<void> {
  await database.schema
    .createTable("asset_sessions")
    .addColumn("id", "text", (column) => column.primaryKey())
    .addColumn("account_id", "text", (column) => column.notNull().references("accounts.id"))
    .addColumn("worker", "text", (column) => column.notNull())
    .addColumn("manifest", "text", (column) => column.notNull())
    .addColumn("created_at", "text", (column) => column.notNull())
    .execute();
  await database.schema
    .createTable("asset_contents")
    .addColumn("account_id", "text", (column) => column.notNull().references("accounts.id"))
    .addColumn("hash", "text", (column) => column.notNull())
    .addColumn("blob", "text", (column) => column.notNull())
    .addColumn("size", "integer", (column) => column.notNull())
    .addColumn("content_type", "text")
    .addPrimaryKeyConstraint("asset_contents_key", ["account_id", "hash"])
    .execute();
}

async function createNodes(database: AnyDatabase): Promise<void> {
  await database.schema
    .createTable("join_tokens")
    .addColumn("id", "text", (column) => column.primaryKey())
    .addColumn("token_hash", "text", (column) => column.notNull())
    .addColumn("expires_at", "text", (column) => column.notNull())
    .addColumn("used_at", "text")
    .execute();
  await database.schema
    .createTable("nodes")
    .addColumn("name", "text", (column) => column.primaryKey())
    .addColumn("region", "text", (column) => column.notNull())
    .addColumn("credential_id", "text", (column) => column.notNull().unique())
    .addColumn("credential_hash", "text", (column) => column.notNull())
    .addColumn("sealing_key", "text", (column) => column.notNull())
    .addColumn("enrolled_at", "text", (column) => column.notNull())
    .addColumn("last_seen_at", "text", (column) => column.notNull())
    .execute();
}
