import type { NodeName, Region } from "../contract/index.ts";

/** A node that presented a join token once and holds a credential since. */
export interface EnrolledNode {
  readonly name: NodeName;
  readonly region: Region;
  /** X25519 public key, raw 32 bytes: secrets for this node are sealed to it. */
  readonly sealingKey: Uint8Array;
  readonly enrolledAt: string;
  /** When it last authenticated, to within `LIMITS.lastSeenMs`. */
  readonly lastSeenAt: string;
}

export interface JoinToken {
  /** For one node, once. Shown this once. */
  readonly token: string;
  readonly expiresAt: string;
}
