import type { KvCondition, KvOperation } from "../entry.ts";
import type { KvError } from "../errors.ts";
import type { NamespaceId, Revision } from "../names.ts";

/** A write that waits for the next group commit. */
export interface QueuedWrite {
  readonly namespace: NamespaceId;
  readonly operations: ReadonlyArray<KvOperation>;
  readonly conditions: ReadonlyArray<KvCondition>;
  /** It is of a restore: no rate holds it up. */
  readonly isUnmetered: boolean;
  readonly bytes: number;
  resolve(revision: Revision): void;
  reject(error: KvError): void;
}
