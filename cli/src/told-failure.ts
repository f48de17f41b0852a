import { MoveError } from "@atoll/control-plane/move-mark";
import { UsageError } from "./settings.ts";

/** Errors of the packages by their names: to load the classes would take longer than most commands. */
const REFUSALS: ReadonlySet<string> = new Set([
  ...["ControlPlaneError", "EdgeError", "KvError", "SiteError"],
  ...["BackupError", "OperatorError"],
]);

/** What the machine refuses that a part begins with: a port, a disk, rights. */
const MACHINE_CODES: ReadonlySet<string> = new Set([
  ...["EADDRINUSE", "EADDRNOTAVAIL", "EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT"],
  ...["EEXIST", "ENOTDIR", "SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_READONLY", "SQLITE_NOTADB"],
]);

/** A command's failure as it is told: what people can mend as one sentence, anything else with its stack. */
export function toldFailure(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  if (error instanceof UsageError || error instanceof MoveError) return `atoll: ${error.message}`;
  const { code } = error as { readonly code?: unknown };
  const isMachine = typeof code === "string" && MACHINE_CODES.has(code);
  if (!isMachine && (!REFUSALS.has(error.name) || code === "internal")) return error;
  const reason = reasonOf(error.cause);
  return `atoll: ${error.message}${reason === undefined ? "" : ` (${reason})`}`;
}

/** What the first of all causes says. */
function reasonOf(cause: unknown): string | undefined {
  if (!(cause instanceof Error)) return undefined;
  const { code } = cause as NodeJS.ErrnoException;
  // A connection that was tried in several ways says nothing but its code.
  return reasonOf(cause.cause) ?? (cause.message || code);
}
