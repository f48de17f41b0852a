import { ControlPlaneError } from "../errors.ts";
import { OperatorError } from "../operator-error.ts";

/** A backup or a restore that can't be made. Its message is for the operator who asked for it. */
export class BackupError extends Error {
  override readonly name = "BackupError";
}

/** What a backup or a restore failed with. What the machine refuses, such as a full disk, is the operator's to mend, too. */
export function asBackupError(error: unknown): unknown {
  const isMendable =
    error instanceof ControlPlaneError || error instanceof OperatorError || isOfMachine(error);
  return isMendable ? new BackupError(error.message, { cause: error }) : error;
}

function isOfMachine(error: unknown): error is Error {
  if (!(error instanceof Error)) return false;
  const { code, syscall } = error as NodeJS.ErrnoException;
  return syscall !== undefined || code?.startsWith("SQLITE_") === true;
}
