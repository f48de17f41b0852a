import type { DatabasePlace } from "../database/database.ts";
import { openDatabase } from "../database/open-database.ts";
import type { AuditQuery, AuditRecord } from "./schemas.ts";
import { AuditStore } from "./store.ts";

/** The audit trail of an installation, for commands beside its control plane, which may be running. */
export async function openAuditTrail(options: DatabasePlace): Promise<{
  /** Of an account, or of `fleet`; the newest first. */
  readonly list: (account: string, query: AuditQuery) => Promise<ReadonlyArray<AuditRecord>>;
  readonly close: () => Promise<void>;
}> {
  const database = await openDatabase(options);
  const store = new AuditStore();
  return {
    list: (account, query) => store.list(database, account, query),
    close: () => database.destroy(),
  };
}
