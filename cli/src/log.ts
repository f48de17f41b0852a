import { pino, type Logger } from "pino";

/** The log of a long-running command: JSON lines on standard output, for whatever collects them. */
export function createLog(name: string): Logger {
  return pino({
    name,
    level: process.env["ATOLL_LOG_LEVEL"] ?? "info",
    // Whatever is logged by accident, these never are.
    redact: ["*.token", "*.credential", "*.secrets", "*.authorization", "authorization"],
  });
}
