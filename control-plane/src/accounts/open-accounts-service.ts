import { join } from "node:path";
import type { Clock } from "@atoll/kv-store";
import { DATABASE_FILE, openSqliteDatabase } from "../database/database.ts";
import { Mutations } from "../desired-state/mutations.ts";
import { AccountsService } from "./service.ts";

/** The accounts of an installation, for commands beside its control plane, which may be running. */
export async function openAccountsService(options: {
  readonly dataDirectory: string;
  readonly clock: Clock;
}): Promise<{ readonly accounts: AccountsService; readonly close: () => Promise<void> }> {
  const { clock } = options;
  const database = await openSqliteDatabase(join(options.dataDirectory, DATABASE_FILE));
  const mutations = new Mutations({ database, clock });
  return {
    accounts: new AccountsService({ database, mutations, clock }),
    close: () => database.destroy(),
  };
}
