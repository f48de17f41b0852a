import type { Log } from "../log.ts";

/** Keeps what a test may look at, and prints nothing. */
export class RecordedLog implements Log {
  readonly lines: string[] = [];

  info(_fields: object, message: string): void {
    this.lines.push(`info ${message}`);
  }

  warn(_fields: object, message: string): void {
    this.lines.push(`warn ${message}`);
  }

  error(fields: object, message: string): void {
    const cause = "err" in fields ? `: ${String(fields.err)}` : "";
    this.lines.push(`error ${message}${cause}`);
  }
}
