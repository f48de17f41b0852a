import { closeSync, openSync } from "node:fs";

/**
 * Makes an empty file that its owner alone may read, unless there is one. For SQLite, which would let all read what it
 * makes, and gives the files beside one the same rights.
 */
export function makePrivate(path: string): void {
  // SQLite's name for a database without a file.
  if (path === ":memory:") return;
  try {
    closeSync(openSync(path, "wx", 0o600));
  } catch {
    // There is one, or there can't be: whoever opens it says so.
  }
}
