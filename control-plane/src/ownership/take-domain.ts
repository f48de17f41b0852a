import type { Clock } from "@atoll/kv-store";
import { OPERATOR } from "../audit/store.ts";
import type { AccountId } from "../contract/index.ts";
import type { DatabasePlace } from "../database/database.ts";
import { openDatabase } from "../database/open-database.ts";
import { Mutations } from "../desired-state/mutations.ts";
import { ControlPlaneError } from "../errors.ts";
import { parseDomainName } from "./domain-name.ts";
import { DomainStore } from "./store.ts";

/**
 * Takes a domain from the account that proved it, for commands beside its control plane, which may be running:
 * domains are sold, and a proof lasts. Routes stay until the new owner proves it. Resolves with the account;
 * rejected with `domain_invalid`, or `domain_not_found` when nobody has proved it.
 */
export async function takeDomain(
  options: DatabasePlace & { readonly clock: Clock; readonly domain: string },
): Promise<AccountId> {
  const name = parseDomainName(options.domain);
  const database = await openDatabase(options);
  try {
    const store = new DomainStore();
    const [proved] = await store.listProved(database, { names: [name], below: [] });
    if (proved === undefined) {
      throw new ControlPlaneError("domain_not_found", `No account has proved '${name}'`);
    }
    const { account, id, provedAt } = proved;
    const mutations = new Mutations({ database, clock: options.clock });
    await mutations.run({ account, tokenId: OPERATOR }, async (mutation) => {
      await store.remove(mutation.transaction, id);
      const before = { provedAt };
      await mutation.audit({ action: "domain.release", subject: name, before });
    });
    return account;
  } finally {
    await database.destroy();
  }
}
