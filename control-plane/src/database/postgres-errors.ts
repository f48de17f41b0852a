import { DatabaseError } from "pg";
import { ControlPlaneError } from "../errors.ts";
import { databaseUnavailable } from "./unavailable.ts";

const LOCK_NOT_AVAILABLE = "55P03";
const BYTE_NOT_TEXT = "22021";

/**
 * Classes of SQLSTATE that are about the server and not about the statement: insufficient resources,
 * limits and states that pass, intervention of an operator, system errors, and transactions that were in
 * each other's way.
 */
const PASSING = /^(40|53|54|55|57|58)/;

/** Whether the connection is as good as before: the server refused a statement, and said so. */
export function isRefusal(error: unknown): error is DatabaseError {
  return error instanceof DatabaseError && error.severity === "ERROR";
}

/** What a statement ended with, as an error of this package; what is wrong with the statement stays as it is. */
export function postgresError(error: unknown): unknown {
  if (error instanceof ControlPlaneError) return error;
  if (!isRefusal(error)) {
    return databaseUnavailable("The database did not answer: try again soon", error);
  }
  const { code = "" } = error;
  if (code === LOCK_NOT_AVAILABLE) {
    const text = "Another control plane has been writing for too long: try again soon";
    return databaseUnavailable(text, error);
  }
  if (code === BYTE_NOT_TEXT) {
    const text = "A text of the call has a character that can't be stored, such as NUL";
    return new ControlPlaneError("invalid_body", text, { cause: error });
  }
  if (!PASSING.test(code)) return error;
  return databaseUnavailable(`The database can't do this now: ${error.message}`, error);
}

/** The answer to a commit was lost. */
export function unknownOutcome(cause: unknown): ControlPlaneError {
  const text =
    "The database did not answer to the last step of the change, which may or may not have been made: look before you repeat it";
  return databaseUnavailable(text, cause);
}
