import type { Database, Statement } from "better-sqlite3";
import type { NamespaceId } from "../names.ts";
import {
  AccountBudget,
  isSameQuota,
  isUnbounded,
  NO_QUOTA,
  NO_WRITES,
  quotaOf,
  type KvQuota,
  type KvSize,
  type QuotaRow,
  type WriteCounts,
} from "./quota.ts";

/** Whose the namespaces are, and what each account may have and do. Each call is part of the caller's transaction. */
export class SqliteQuotas {
  readonly #assign: Statement<[string, string, string]>;
  readonly #set: Statement<[{ readonly account: string } & KvQuota]>;
  readonly #quota: Statement<[string], QuotaRow>;
  readonly #size: Statement<[string], KvSize>;
  readonly #saveCounts: Statement<[WriteCounts & { readonly account: string }]>;

  constructor(database: Database) {
    this.#assign = database.prepare(
      "UPDATE namespaces SET account = ? WHERE namespace = ? AND account IS NOT ?",
    );
    this.#set = database.prepare(
      `INSERT INTO quotas (account, keys_max, bytes_max, writes_per_second_max, writes_per_day_max)
       VALUES (@account, @keysMax, @bytesMax, @writesPerSecondMax, @writesPerDayMax)
       ON CONFLICT (account) DO UPDATE SET keys_max = excluded.keys_max,
         bytes_max = excluded.bytes_max, writes_per_second_max = excluded.writes_per_second_max,
         writes_per_day_max = excluded.writes_per_day_max`,
    );
    this.#quota = database.prepare("SELECT * FROM quotas WHERE account = ?");
    this.#size = database.prepare(
      `SELECT coalesce(sum(keys), 0) AS keys, coalesce(sum(bytes), 0) AS bytes
       FROM namespaces WHERE account = ?`,
    );
    this.#saveCounts = database.prepare(
      `UPDATE quotas SET second = @second, second_writes = @second_writes, day = @day,
       day_writes = @day_writes WHERE account = @account`,
    );
  }

  assign(account: string, namespaces: ReadonlyArray<NamespaceId>): void {
    for (const namespace of namespaces) this.#assign.run(account, namespace, account);
  }

  /** Writes nothing when it is as it was. */
  set(account: string, quota: KvQuota): void {
    const row = this.#quota.get(account);
    const before = row === undefined ? NO_QUOTA : quotaOf(row);
    if (!isSameQuota(before, quota)) this.#set.run({ account, ...quota });
  }

  /** What the account's namespaces have together. */
  size(account: string): KvSize {
    return this.#size.get(account) ?? { keys: 0, bytes: 0 };
  }

  /** What was counted of the account's writes. */
  counts(account: string): WriteCounts {
    return this.#quota.get(account) ?? NO_WRITES;
  }

  /** The budget of an account for one transaction; `undefined` for one without bounds. */
  budget(account: string, nowMs: number): AccountBudget | undefined {
    const row = this.#quota.get(account);
    const quota = row && quotaOf(row);
    if (row === undefined || quota === undefined || isUnbounded(quota)) return undefined;
    const { second, second_writes, day, day_writes } = row;
    const counts = { second, second_writes, day, day_writes };
    const has = { size: this.size(account), nowMs };
    return new AccountBudget({ account, quota, counts }, has);
  }

  saveCounts({ account, counts }: AccountBudget): void {
    this.#saveCounts.run({ account, ...counts });
  }
}
