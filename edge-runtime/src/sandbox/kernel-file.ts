import { readFileSync } from "node:fs";

/**
 * What the kernel tells in a file of its own, of a process or of a group; `undefined` when that is gone, or
 * the kernel is older than the file. At once rather than later: for the few microseconds that it takes, a
 * promise costs several times more.
 */
export function readKernelFile(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
