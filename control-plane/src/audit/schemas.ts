import { z } from "zod";
import { LIMITS } from "../limits.ts";

/** What something was or became, for people. Never holds the value of a secret. */
export type Facts = Readonly<Record<string, unknown>>;

/** What the audit trail keeps of a mutation, beside who made it and when. */
export interface AuditEntry {
  /** Resource and verb, such as `worker.delete`. */
  readonly action: string;
  /** What it was done to, such as a worker's name. */
  readonly subject: string;
  /** Absent for what did not exist before. */
  readonly before?: Facts;
  /** Absent for what no longer exists. */
  readonly after?: Facts;
}

/** A row of the trail, as the API and the command tell it. */
export const AuditRecord = z.object({
  /** Counts each account's mutations, without gaps. */
  sequence: z.number(),
  at: z.string(),
  /** An account's id; `fleet` for what is nobody's, such as the nodes. */
  account: z.string(),
  /**
   * Id of the API token; `operator` for whoever has the control plane's data folder, and `other-account` for
   * whoever took what is theirs.
   */
  token: z.string(),
  /** The caller's network address; null for whoever works on the control plane's own machine. */
  address: z.string().nullable(),
  action: z.string(),
  subject: z.string(),
  before: z.record(z.string(), z.unknown()).nullable(),
  after: z.record(z.string(), z.unknown()).nullable(),
});
export type AuditRecord = z.infer<typeof AuditRecord>;

const text = z.string().min(1).max(LIMITS.auditFilterCharactersMax).optional();

/** Query of `GET /accounts/:account/audit`. */
export const AuditQuery = z.strictObject({
  /** An action, or a resource such as `worker` for all of its actions. */
  action: text,
  subject: text,
  token: text,
  since: z.iso.datetime().optional(),
  until: z.iso.datetime().optional(),
  limit: z.coerce.number().int().min(1).max(LIMITS.auditPageRowsMax).default(LIMITS.auditPageRows),
  /** Where the page before ended. */
  cursor: z.coerce.number().int().positive().optional(),
});
export type AuditQuery = z.infer<typeof AuditQuery>;
