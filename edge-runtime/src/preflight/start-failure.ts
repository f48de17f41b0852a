import { z } from "zod";
import type { CellExit } from "../cells/cell-host.ts";

/** One line of workerd's structured log. */
const LogLine = z.object({ level: z.string(), message: z.string() });

// Errors of a worker start with the name of its service, which is ours: `w0`, or `w0-code`.
const SERVICE_PREFIX = /^service w\d+(?:-code)?: /;
// The service-worker format has no module name, so frames name the service.
const SERVICE_FRAME = /^(\s+at )w\d+(?:-code)?(?=:\d+:\d+)/gm;
// What follows is addresses inside the workerd binary.
const NATIVE_STACK = /\s*\nstack: [\s\S]*$/;
// Cloudflare takes every date up to today, so developers don't expect a runtime with a newest one.
const NEWEST_DATE = /the newest date supported by this server binary is ("[^"]*")\.?/;

/**
 * What workerd wrote when a version did not start, as its developer should read it: the errors with
 * their frames, without the names that only our config has. `script` names the script of the
 * service-worker format.
 */
export function startFailure(exit: CellExit, script: string): string {
  const messages = exit.stderrTail
    .split("\n")
    .flatMap(errorOf)
    .map((message) =>
      message
        .replace(NATIVE_STACK, "")
        .replace(SERVICE_PREFIX, "")
        .replace(SERVICE_FRAME, (_frame, at: string) => at + script)
        .replace(
          NEWEST_DATE,
          "the newest date that this Atoll runs is $1. Choose that date or an older one.",
        ),
    );
  if (messages.length > 0) return [...new Set(messages)].join("\n");
  const end = exit.signal ?? `status ${exit.code}`;
  return `The script ended its process (${end}) while it started, possibly for want of memory.`;
}

function errorOf(line: string): ReadonlyArray<string> {
  if (!line.startsWith("{")) return [];
  try {
    const { level, message } = LogLine.parse(JSON.parse(line));
    return level === "error" || level === "fatal" ? [message] : [];
  } catch {
    // The tail may begin inside of a line, and a worker may write what it likes.
    return [];
  }
}
