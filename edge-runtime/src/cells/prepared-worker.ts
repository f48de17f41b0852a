import type { AccountId, AccountSettings } from "@atoll/control-plane/contract";
import type { ReadBlob } from "../config/compile-config.ts";
import type { GroupMember } from "../config/group-config.ts";
import type { VersionRole } from "./version-role.ts";

/**
 * A version of a worker with everything that running it takes on this node: its blobs are here, its static files lie
 * in `siteDirectory`, its secrets are in the clear. It is held in memory and never written down.
 */
export interface PreparedWorker extends GroupMember {
  readonly account: AccountId;
  /** Of its account. */
  readonly settings: AccountSettings;
  /** `only` if absent. */
  readonly role?: VersionRole;
  readonly other?: { readonly member: PreparedWorker; readonly share: number };
  /** Content of a blob that the version names. */
  readonly readBlob: ReadBlob;
}

/** Workers with the versions that are beside them to be called. */
export function withOthers<Worker extends { readonly other?: { readonly member: Worker } }>(
  workers: ReadonlyArray<Worker>,
): ReadonlyArray<Worker> {
  return workers.flatMap((worker) =>
    worker.other === undefined ? [worker] : [worker, worker.other.member],
  );
}
