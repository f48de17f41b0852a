import type { CustomTypesConfig } from "pg";
import { LIMITS } from "../limits.ts";
import { SCHEMA } from "./postgres-schema.ts";

/** What every connection is told first. */
export function sessionSettings(): string {
  const settings = {
    search_path: SCHEMA,
    // Acknowledged is on disk, whatever the server's default is.
    synchronous_commit: "on",
    statement_timeout: LIMITS.originStatementMs,
    lock_timeout: LIMITS.originLockMs,
    // A process that stops in the midst of a transaction must not hold a namespace for long.
    idle_in_transaction_session_timeout: LIMITS.originIdleTransactionMs,
    // Each statement finds its rows by an index. While a table is new the planner knows nothing of its size,
    // and a prepared statement keeps the plan: reading all of it would stay, and be slower with every row.
    enable_seqscan: "off",
    enable_hashjoin: "off",
    enable_mergejoin: "off",
    // What the planner is kept from counts as very expensive, which would have the rest compiled.
    jit: "off",
  };
  return Object.entries(settings)
    .map(([name, value]) => `SET ${name} = ${value}`)
    .join("; ");
}

const OID_BOOL = 16;
const OID_BYTEA = 17;
const OID_INT8 = 20;
const OID_INT4 = 23;

/** How results are read: integers as numbers, because none of ours is over 2^53, and bytes as a `Buffer`. */
export const postgresTypes: CustomTypesConfig = {
  getTypeParser: (oid: number): ((text: string) => unknown) => {
    if (oid === OID_INT8 || oid === OID_INT4) return Number;
    if (oid === OID_BYTEA) return (text) => Buffer.from(text.slice(2), "hex"); // behind `\x`
    if (oid === OID_BOOL) return (text) => text === "t";
    return (text) => text;
  },
};
