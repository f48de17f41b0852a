import { DatabaseError } from "pg";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";

/** SQLSTATE of a lock that was not granted in time. */
const LOCK_NOT_AVAILABLE = "55P03";

/** What a call to the database ended with, as an error of this package. */
export function databaseError(error: unknown): KvError {
  if (error instanceof KvError) return error;
  // What is worse than an error ends the connection, and with it what is known of the statement.
  const isRefusal = error instanceof DatabaseError && error.severity === "ERROR";
  if (!isRefusal) {
    return new KvError("origin_unreachable", "the database did not answer", { cause: error });
  }
  if (error.code === LOCK_NOT_AVAILABLE) {
    const text = `another writer has held the namespace for ${LIMITS.originLockMs} ms`;
    return new KvError("busy", text, { cause: error });
  }
  return new KvError("storage_failed", `the database refused: ${error.message}`, { cause: error });
}
