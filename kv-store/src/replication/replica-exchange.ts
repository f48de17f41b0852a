import type { KvCondition, KvOperation } from "../entry.ts";
import type { NamespaceId, Revision } from "../names.ts";
import type { StoreAction } from "../replica/replica.ts";
import type { MessageFromOrigin, MessageToOrigin } from "./messages.ts";
import type { SettledWrite } from "./pending-writes.ts";
import type { Held, RepairReason, Standing } from "./replica-subscription.ts";

/** What happened at a node's end of the connection. `nowMs` is by the monotonic clock. */
export type ReplicaInput =
  | {
      readonly kind: "interest";
      /** What the replica holds of each wanted namespace. */
      readonly wanted: ReadonlyMap<NamespaceId, Held>;
      readonly nowMs: number;
    }
  | {
      /** Values may be absent in what is held from now on, or no longer. */
      readonly kind: "extent";
      readonly namespace: NamespaceId;
      readonly held: Held;
      readonly nowMs: number;
    }
  | { readonly kind: "connected"; readonly nowMs: number }
  | { readonly kind: "disconnected" }
  | { readonly kind: "message"; readonly message: MessageFromOrigin; readonly nowMs: number }
  | { readonly kind: "tick"; readonly nowMs: number }
  | {
      readonly kind: "write";
      /** More than that of any write before it. */
      readonly id: number;
      readonly namespace: NamespaceId;
      readonly operations: ReadonlyArray<KvOperation>;
      readonly conditions: ReadonlyArray<KvCondition>;
      readonly nowMs: number;
    }
  | {
      /** The answer to a `store`, in the order in which they were asked for. */
      readonly kind: "stored";
      readonly token: number;
      readonly outcome: StoreOutcome;
      /** What the replica holds now. */
      readonly held: Held;
    }
  | {
      /** What the replica holds was found not to be what was stored. */
      readonly kind: "damaged";
      readonly namespace: NamespaceId;
      readonly what: string;
      readonly nowMs: number;
    };

/** `damaged`: what is on disk does not lead to the state that was promised, and reads see no change. */
export type StoreOutcome = "stored" | "failed" | "damaged";

/** What the node's end does about it. */
export type ReplicaEffect =
  | { readonly kind: "send"; readonly message: MessageToOrigin }
  | {
      readonly kind: "store";
      readonly token: number;
      readonly namespace: NamespaceId;
      readonly action: StoreAction;
    }
  | ({ readonly kind: "settle" } & SettledWrite)
  /** Something to tell the operator, who may need to act. */
  | { readonly kind: "report"; readonly namespace: NamespaceId; readonly text: string }
  | { readonly kind: "cut"; readonly reason: string };

/** Where the replica of a wanted namespace stands. */
export interface ReplicaPosition {
  readonly namespace: NamespaceId;
  readonly standing: Standing;
  /** What it holds; null for nothing. */
  readonly applied: Revision | null;
  /** The same, null also when it may be of another history than the origin's. */
  readonly confirmed: Revision | null;
  /** It holds all that the origin had when this node's monotonic clock showed this; null before it is known. */
  readonly freshMs: number | null;
  /** Why it is about to be replaced as a whole, if it is. */
  readonly repairing: RepairReason | null;
  /** How often it was since this session began, and why the last time. */
  readonly repairs: number;
  readonly lastRepair: RepairReason | null;
  /** Its last change could not be stored. */
  readonly isStorageFailing: boolean;
}
