import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** A part of `atoll up`; `pid` is undefined before its first start. */
interface Part {
  readonly name: string;
  readonly pid: number | undefined;
}

/**
 * Writes `processes.json`, which tells operators and tests which process is which. A reader meets the
 * whole of the last writing at any moment. Synchronous, so that of parts that start at once the last to
 * call has the last word: two writings under way would leave the file a mixture of both.
 */
export function writeProcessIds(dataDirectory: string, parts: ReadonlyArray<Part>): void {
  const path = join(dataDirectory, "processes.json");
  const ids = Object.fromEntries(parts.map(({ name, pid }) => [name, pid]));
  writeFileSync(`${path}.tmp`, JSON.stringify(ids));
  renameSync(`${path}.tmp`, path);
}
