import type { Clock, ManagedOrigin } from "@atoll/kv-store";
import type { DatabasePlace } from "../database/database.ts";
import { openDatabase } from "../database/open-database.ts";
import { Mutations } from "../desired-state/mutations.ts";
import { NamespacesService } from "./service.ts";

/** The namespaces of an installation, for commands beside its control plane. The origin stays the caller's. */
export async function openNamespacesService(
  options: DatabasePlace & { readonly origin: ManagedOrigin; readonly clock: Clock },
): Promise<{ readonly namespaces: NamespacesService; readonly close: () => Promise<void> }> {
  const { clock, origin } = options;
  const database = await openDatabase(options);
  const mutations = new Mutations({ database, clock });
  return {
    namespaces: new NamespacesService({ database, mutations, origin }),
    close: () => database.destroy(),
  };
}
