import type { Database } from "../database/database.ts";
import { LIMITS } from "../limits.ts";
import { pagesSecretContext, secretContext } from "./contexts.ts";
import { keyContext } from "./installation-keys.ts";
import type { MasterKeys } from "./master-keys.ts";
import { masterKeyIdOf, SecretSealer } from "./sealing.ts";

/** A sealed text, where it is, and what it is bound to. */
interface SealedRecord {
  readonly sealed: string;
  readonly context: string;
  /** Replaces it if it is still the same. */
  replace(sealed: string): Promise<void>;
}

/** How many sealed records need which master key; under `undefined` those that do not say. */
export type KeyUse = ReadonlyMap<string | undefined, number>;

/** Every sealed record of the database, and how it comes under the current master key. */
export class Rewrapping {
  readonly #database: Database;
  readonly #sealer: SecretSealer;

  constructor(parts: { readonly database: Database; readonly keys: MasterKeys }) {
    this.#database = parts.database;
    this.#sealer = new SecretSealer(parts.keys);
  }

  async keyUse(): Promise<KeyUse> {
    const use = new Map<string | undefined, number>();
    for await (const { sealed } of this.#records()) {
      const id = masterKeyIdOf(sealed);
      use.set(id, (use.get(id) ?? 0) + 1);
    }
    return use;
  }

  /**
   * Brings all records under the current master key; resolves with how many were not. May be interrupted at any
   * record and begun again. Rejected with `secret_unreadable` when one does not open.
   */
  async run(): Promise<number> {
    let total = 0;
    // What is sealed meanwhile under the earlier key is found by the next pass.
    for (;;) {
      let rewrapped = 0;
      for await (const record of this.#records()) {
        const sealed = this.#sealer.rewrap(record.sealed, record.context);
        if (sealed === undefined) continue;
        await record.replace(sealed);
        rewrapped += 1;
      }
      if (rewrapped === 0) return total;
      total += rewrapped;
    }
  }

  async *#records(): AsyncIterable<SealedRecord> {
    yield* this.#installationKeys();
    yield* this.#pagesSecrets();
    let after = { version_id: "", name: "" };
    for (;;) {
      const rows = await this.#secretsBehind(after);
      const last = rows.at(-1);
      if (last === undefined) return;
      after = last;
      for (const row of rows) {
        yield {
          sealed: row.sealed,
          context: secretContext(row.worker_id, row.name),
          replace: async (sealed) => {
            await this.#database
              .updateTable("version_secrets")
              .set({ sealed })
              .where("version_id", "=", row.version_id)
              .where("name", "=", row.name)
              .where("sealed", "=", row.sealed)
              .execute();
          },
        };
      }
    }
  }

  async *#installationKeys(): AsyncIterable<SealedRecord> {
    for (const row of await this.#database.selectFrom("installation_keys").selectAll().execute()) {
      yield {
        sealed: row.sealed,
        context: keyContext(row.name),
        replace: async (sealed) => {
          await this.#database
            .updateTable("installation_keys")
            .set({ sealed })
            .where("name", "=", row.name)
            .where("sealed", "=", row.sealed)
            .execute();
        },
      };
    }
  }

  async *#pagesSecrets(): AsyncIterable<SealedRecord> {
    for (const row of await this.#database.selectFrom("pages_secrets").selectAll().execute()) {
      const { worker_id: workerId, environment, name } = row;
      yield {
        sealed: row.sealed,
        context: pagesSecretContext({ workerId, environment, name }),
        replace: async (sealed) => {
          await this.#database
            .updateTable("pages_secrets")
            .set({ sealed })
            .where("worker_id", "=", workerId)
            .where("environment", "=", environment)
            .where("name", "=", name)
            .where("sealed", "=", row.sealed)
            .execute();
        },
      };
    }
  }

  #secretsBehind(after: { readonly version_id: string; readonly name: string }) {
    return this.#database
      .selectFrom("version_secrets")
      .innerJoin("versions", "versions.id", "version_secrets.version_id")
      .select([
        "version_secrets.version_id",
        "version_secrets.name",
        "version_secrets.sealed",
        "versions.worker_id",
      ])
      .where((is) =>
        is.or([
          is("version_secrets.version_id", ">", after.version_id),
          is.and([
            is("version_secrets.version_id", "=", after.version_id),
            is("version_secrets.name", ">", after.name),
          ]),
        ]),
      )
      .orderBy("version_secrets.version_id")
      .orderBy("version_secrets.name")
      .limit(LIMITS.sealedRowsPerStatement)
      .execute();
  }
}
