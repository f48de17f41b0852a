import type { Clock } from "@atoll/kv-store";
import type { DatabasePlace } from "../database/database.ts";
import { openDatabase } from "../database/open-database.ts";
import { Mutations } from "../desired-state/mutations.ts";
import { AccountsService } from "./service.ts";

/** The accounts of an installation, for commands beside its control plane, which may be running. */
export async function openAccountsService(
  options: DatabasePlace & { readonly clock: Clock },
): Promise<{ readonly accounts: AccountsService; readonly close: () => Promise<void> }> {
  const { clock } = options;
  const database = await openDatabase(options);
  const mutations = new Mutations({ database, clock });
  return {
    accounts: new AccountsService({ database, mutations, clock }),
    close: () => database.destroy(),
  };
}
