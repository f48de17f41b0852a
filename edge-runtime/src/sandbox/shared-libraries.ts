import { execFile } from "node:child_process";
import { promisify } from "node:util";

const execute = promisify(execFile);
// `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, or the loader alone: `/lib64/ld-linux… (0x…)`.
const LIBRARY_LINE = /^\s*(?:\S+ => )?(\/\S+) \(0x[0-9a-f]+\)$/;

/** Absolute paths of what the loader maps for a program of ours, the loader itself included. */
export async function sharedLibraries(program: string): Promise<ReadonlyArray<string>> {
  const { stdout } = await execute("/usr/bin/ldd", [program], { env: {} });
  return stdout.split("\n").flatMap((line) => LIBRARY_LINE.exec(line)?.[1] ?? []);
}
