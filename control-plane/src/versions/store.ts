import {
  Version,
  type PreviewLabel,
  type SecretValues,
  type VersionId,
} from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import { secretContext } from "../secrets/contexts.ts";
import type { SecretSealer } from "../secrets/sealing.ts";
import { VersionNotes, type StoredVersion } from "./schemas.ts";

/** wrangler prints so many digits of a version's id in front of its worker's host. */
const PREVIEW_ID_DIGITS = 8;

/** Immutable versions, and the values of their secrets under seal. */
export class VersionStore {
  readonly #sealer: SecretSealer;

  constructor(sealer: SecretSealer) {
    this.#sealer = sealer;
  }

  /** Adds a version with its secrets. */
  async insert(
    transaction: Transaction,
    added: StoredVersion & { readonly workerId: string; readonly secrets: SecretValues },
  ): Promise<void> {
    const { version, notes, workerId, secrets } = added;
    const row = {
      id: version.id,
      worker_id: workerId,
      number: version.number,
      created_at: version.createdAt,
      document: JSON.stringify(version),
      notes: JSON.stringify(notes),
    };
    await transaction.insertInto("versions").values(row).execute();
    for (const [name, value] of Object.entries(secrets)) {
      const sealed = this.#sealer.seal(value, secretContext(workerId, name));
      const secret = { version_id: version.id, name, sealed };
      await transaction.insertInto("version_secrets").values(secret).execute();
    }
  }

  /** Removes versions up to a number, but for those in `keptIds`. Their blobs stay. */
  async prune(
    transaction: Transaction,
    range: {
      readonly workerId: string;
      readonly numberMax: number;
      readonly keptIds: ReadonlyArray<VersionId>;
    },
  ): Promise<void> {
    await transaction
      .deleteFrom("versions")
      .where("worker_id", "=", range.workerId)
      .where("number", "<=", range.numberMax)
      .where("id", "not in", [...range.keptIds])
      .execute();
  }

  /** Removes one that no deployment names. Its blobs stay. */
  async remove(transaction: Transaction, id: VersionId): Promise<void> {
    await transaction.deleteFrom("versions").where("id", "=", id).execute();
  }

  async find(
    database: Database | Transaction,
    address: { readonly workerId: string; readonly id: string },
  ): Promise<StoredVersion | undefined> {
    const row = await database
      .selectFrom("versions")
      .select(["document", "notes"])
      .where("worker_id", "=", address.workerId)
      .where("id", "=", address.id)
      .executeTakeFirst();
    return row && toVersion(row);
  }

  /** The newest version with this alias, or else the newest whose id begins with the label. */
  async findPreview(
    database: Database | Transaction,
    query: { readonly workerId: string; readonly label: PreviewLabel },
  ): Promise<StoredVersion | undefined> {
    const { workerId, label } = query;
    // A label holds nothing that a pattern or JSON has another meaning for, and no text within the notes
    // can look like this: its quotation marks are escaped.
    const alias = `"workers/alias":${JSON.stringify(label)}`;
    const aliased = await this.#newestLike(database, { workerId, notes: `%${alias}%` });
    if (aliased !== undefined) return aliased;
    if (label.length !== PREVIEW_ID_DIGITS) return undefined;
    return this.#newestLike(database, { workerId, id: `${label}-%` });
  }

  /** What `findPreview` finds something by. */
  async previewLabels(
    database: Database | Transaction,
    workerId: string,
  ): Promise<ReadonlyArray<string>> {
    const rows = await database
      .selectFrom("versions")
      .select(["id", "notes"])
      .where("worker_id", "=", workerId)
      .execute();
    return rows.flatMap(({ id, notes }) => {
      const alias = VersionNotes.parse(JSON.parse(notes)).annotations["workers/alias"];
      const first = id.slice(0, PREVIEW_ID_DIGITS);
      return alias === undefined ? [first] : [first, alias];
    });
  }

  async #newestLike(
    database: Database | Transaction,
    {
      workerId,
      ...patterns
    }: { readonly workerId: string } & Partial<Readonly<Record<"id" | "notes", string>>>,
  ): Promise<StoredVersion | undefined> {
    let query = database
      .selectFrom("versions")
      .select(["document", "notes"])
      .where("worker_id", "=", workerId);
    if (patterns.id !== undefined) query = query.where("id", "like", patterns.id);
    if (patterns.notes !== undefined) query = query.where("notes", "like", patterns.notes);
    const row = await query.orderBy("number", "desc").limit(1).executeTakeFirst();
    return row && toVersion(row);
  }

  /** A version that is known to exist, such as one that a deployment names. */
  async get(database: Database | Transaction, id: VersionId): Promise<StoredVersion> {
    const row = await database
      .selectFrom("versions")
      .select(["document", "notes"])
      .where("id", "=", id)
      .executeTakeFirstOrThrow();
    return toVersion(row);
  }

  /** Those of these ids, by id. */
  async getAll(
    database: Database | Transaction,
    ids: ReadonlyArray<VersionId>,
  ): Promise<ReadonlyMap<VersionId, StoredVersion>> {
    const rows = await database
      .selectFrom("versions")
      .select(["document", "notes"])
      .where("id", "in", ids)
      .execute();
    return new Map(rows.map(toVersion).map((stored) => [stored.version.id, stored]));
  }

  /** When those of these ids were made, by id. */
  async createdAt(
    database: Database | Transaction,
    ids: ReadonlyArray<VersionId>,
  ): Promise<ReadonlyMap<string, string>> {
    const rows = await database
      .selectFrom("versions")
      .select(["id", "created_at"])
      .where("id", "in", ids)
      .execute();
    return new Map(rows.map(({ id, created_at: at }) => [id, at]));
  }

  /** The newest versions first. */
  async list(
    database: Database | Transaction,
    query: { readonly workerId: string; readonly limit: number },
  ): Promise<ReadonlyArray<StoredVersion>> {
    const rows = await database
      .selectFrom("versions")
      .select(["document", "notes"])
      .where("worker_id", "=", query.workerId)
      .orderBy("number", "desc")
      .limit(query.limit)
      .execute();
    return rows.map(toVersion);
  }

  async latest(
    database: Database | Transaction,
    workerId: string,
  ): Promise<StoredVersion | undefined> {
    const [latest] = await this.list(database, { workerId, limit: 1 });
    return latest;
  }

  /** The newest versions of some workers, by the worker's id. */
  async newestOf(
    database: Database | Transaction,
    workerIds: ReadonlyArray<string>,
  ): Promise<ReadonlyMap<string, StoredVersion>> {
    if (workerIds.length === 0) return new Map();
    const rows = await database
      .selectFrom("versions")
      .select(["worker_id", "document", "notes"])
      .where("worker_id", "in", workerIds)
      .where("number", "=", (row) =>
        row
          .selectFrom("versions as each")
          .select(({ fn }) => fn.max("each.number").as("newest"))
          .whereRef("each.worker_id", "=", "versions.worker_id"),
      )
      .execute();
    return new Map(rows.map((row) => [row.worker_id, toVersion(row)]));
  }

  /** The secrets of some versions in the clear, by the version's id. Rejected as `openSecrets` is. */
  async openAllSecrets(
    database: Database | Transaction,
    versions: ReadonlyArray<{ readonly workerId: string; readonly versionId: VersionId }>,
  ): Promise<ReadonlyMap<string, SecretValues>> {
    const owners = new Map(
      versions.map(({ versionId, workerId }) => [String(versionId), workerId]),
    );
    const rows = await database
      .selectFrom("version_secrets")
      .selectAll()
      .where("version_id", "in", [...owners.keys()])
      .execute();
    const opened = new Map<string, Record<string, string>>();
    for (const { version_id: id, name, sealed } of rows) {
      const values = opened.get(id) ?? {};
      opened.set(id, values);
      values[name] = this.#sealer.open(sealed, secretContext(owners.get(id) ?? "", name));
    }
    return opened;
  }

  /** The secrets of a version in the clear. Rejected with `secret_unreadable` under another master key. */
  async openSecrets(
    database: Database | Transaction,
    workerId: string,
    versionId: VersionId,
  ): Promise<SecretValues> {
    const rows = await database
      .selectFrom("version_secrets")
      .select(["name", "sealed"])
      .where("version_id", "=", versionId)
      .execute();
    return Object.fromEntries(
      rows.map(({ name, sealed }) => [
        name,
        this.#sealer.open(sealed, secretContext(workerId, name)),
      ]),
    );
  }
}

function toVersion(row: { readonly document: string; readonly notes: string }): StoredVersion {
  return {
    version: Version.parse(JSON.parse(row.document)),
    notes: VersionNotes.parse(JSON.parse(row.notes)),
  };
}
