/** A backup or a restore that can't be made. Its message is for the operator who asked for it. */
export class BackupError extends Error {
  override readonly name = "BackupError";
}
