import type { AccountId, AccountSettings, SecretValues, Version } from "../contract/index.ts";

/** A version that is about to be recorded, with all that starting it once needs. */
export interface PreflightCandidate {
  /** Whose it is: accounts take turns. */
  readonly account: AccountId;
  readonly version: Version;
  readonly secrets: SecretValues;
  /** What its account is granted on nodes, where it may take as much as here. */
  readonly settings: AccountSettings;
  /** Content of a blob that the version names. */
  readonly readBlob: (hash: string) => Promise<Uint8Array>;
}

/** `message` is written for the developer and keeps the `at <module>:<line>:<column>` frames. */
export type PreflightResult =
  | { readonly kind: "started"; readonly startupMs: number }
  | { readonly kind: "failed"; readonly message: string };

/**
 * Starts a version once, in a throw-away cell with bindings that reach nothing, before it is recorded.
 * It is an interface because cells belong to `edge-runtime`, which this package does not import.
 * Rejects only when the check itself could not be made.
 */
export interface Preflight {
  /** What versions get that could have any: the newest compatibility date that cells start with. */
  readonly newestCompatibilityDate: string;
  check(candidate: PreflightCandidate): Promise<PreflightResult>;
}
