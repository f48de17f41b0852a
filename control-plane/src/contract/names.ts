import { z } from "zod";

/** Identifies a tenant: 32 lower-case hexadecimal digits (wrangler's error path wants alphanumerics). */
export const AccountId = z
  .string()
  .regex(/^[0-9a-f]{32}$/, "an account id is 32 lower-case hexadecimal digits")
  .brand<"AccountId">();
export type AccountId = z.infer<typeof AccountId>;

/** A worker's name is a DNS label, because it becomes one: `<worker>.<base domain>`. */
export const WorkerName = z
  .string()
  .regex(
    /^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$/,
    "a worker's name has 1 to 63 characters of a-z, 0-9, '-' and '_', and starts and ends with a letter or digit",
  )
  .brand<"WorkerName">();
export type WorkerName = z.infer<typeof WorkerName>;

/** Identifies one immutable upload of a worker. */
export const VersionId = z.uuid().brand<"VersionId">();
export type VersionId = z.infer<typeof VersionId>;

/** SHA-256 of content, lower-case hexadecimal: the address of a blob. */
export const BlobHash = z
  .string()
  .regex(/^[0-9a-f]{64}$/, "a blob hash is 64 lower-case hexadecimal digits")
  .brand<"BlobHash">();
export type BlobHash = z.infer<typeof BlobHash>;

/** Name of a node, unique in the fleet. */
export const NodeName = z
  .string()
  .regex(
    /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
    "a node's name has 1 to 63 characters of a-z, 0-9 and '-', and starts and ends with a letter or digit",
  )
  .brand<"NodeName">();
export type NodeName = z.infer<typeof NodeName>;

/** Short code of where a node is, such as `fra`. It ends each `cf-ray` and is `request.cf.colo`. */
export const Region = z
  .string()
  .regex(/^[a-z0-9]{2,12}$/, "a region has 2 to 12 characters of a-z and 0-9")
  .brand<"Region">();
export type Region = z.infer<typeof Region>;

/** Number that orders the changes of the fleet's desired state: 0 before the first change. */
export const StateRevision = z.number().int().nonnegative().brand<"StateRevision">();
export type StateRevision = z.infer<typeof StateRevision>;
