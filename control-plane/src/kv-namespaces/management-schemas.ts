import { Key, KvQuota } from "@atoll/kv-store";
import { z } from "zod";
import { KvStatus } from "../contract/index.ts";

/** A node's copy of a namespace, as the node last told. */
const ReplicaStatus = KvStatus.omit({ namespace: true }).extend({
  node: z.string(),
  region: z.string(),
  /** While it is not, the rest is what it told before. */
  connected: z.boolean(),
});

/** A namespace at its origin and on the nodes that hold it. */
export const NamespaceStatus = z.object({
  id: z.string(),
  title: z.string(),
  revision: z.int(),
  digest: z.string(),
  /** What has expired and is not swept yet counts as well. */
  keys: z.int(),
  bytes: z.int(),
  log: z.object({
    records: z.int(),
    bytes: z.int(),
    /** The earliest moment that the namespace can be restored to. */
    since: z.iso.datetime(),
  }),
  replicas: z.array(ReplicaStatus),
});
export type NamespaceStatus = z.infer<typeof NamespaceStatus>;

/** All of an account's namespaces, what they have together, and what they may: `atoll kv status --json`. */
export const AccountKvStatus = z.object({
  account: z.object({
    id: z.string(),
    name: z.string(),
    keys: z.int(),
    bytes: z.int(),
    /** Counted while there is a quota. */
    writesToday: z.int(),
    quota: KvQuota,
  }),
  namespaces: z.array(NamespaceStatus),
});
export type AccountKvStatus = z.infer<typeof AccountKvStatus>;

/** How a node's copy compares with the origin. */
const ReplicaCheck = z.object({
  node: z.string(),
  region: z.string(),
  revision: z.int(),
  /**
   * `same`: the origin's state as of that revision, which is the latest. `behind`: the same, of an earlier one.
   * `differs`: another state than the origin had then. `unknown`: the node is not connected, holds nothing yet,
   * or is further behind than the origin's log tells of.
   */
  verdict: z.enum(["same", "behind", "differs", "unknown"]),
});

/** What `atoll kv check` found of one namespace. */
export const NamespaceCheck = z.object({
  id: z.string(),
  title: z.string(),
  /** What is wrong at the origin, in sentences. */
  findings: z.array(z.string()),
  replicas: z.array(ReplicaCheck),
});
export type NamespaceCheck = z.infer<typeof NamespaceCheck>;

export const RestoreRequest = z.strictObject({
  at: z.iso.datetime(),
  dry_run: z.boolean(),
  /** Behind which key to go on; null to begin. */
  after: Key.nullable(),
});
export const RestoreResult = z.object({
  /** The revision whose state the keys got back. */
  to: z.int(),
  puts: z.int(),
  deletes: z.int(),
  /** What to give as `after` for the next part; null when that was the last one. */
  next: Key.nullable(),
});
export type RestoreResult = z.infer<typeof RestoreResult>;

export const ImportResult = z.object({
  written: z.int(),
  /** Entries that have expired by now. */
  expired: z.int(),
});
export type ImportResult = z.infer<typeof ImportResult>;

export const ExportQuery = z.strictObject({ at: z.iso.datetime().optional() });
/** `content` asks for the content of large values to be read and hashed, too. */
export const CheckQuery = z.strictObject({ content: z.enum(["true", "false"]).default("false") });
