import { pino, type Logger } from "pino";

/** A log whose lines a test can look at. */
export class RecordedLog {
  readonly lines: Array<Readonly<Record<string, unknown>>> = [];
  readonly logger: Logger = pino({ level: "info" }, { write: (line) => this.#take(line) });

  #take(line: string): void {
    this.lines.push(JSON.parse(line) as Record<string, unknown>);
  }
}
