import { createWriteStream, type WriteStream } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";

// pino's numbers for its levels.
const WARNING = 40;
const LEVEL_NAMES: Readonly<Record<number, string>> = { 40: "warning", 50: "error", 60: "fatal" };

const LogLine = z.looseObject({
  level: z.number(),
  msg: z.string().optional(),
  err: z.looseObject({ message: z.string() }).optional(),
  reason: z.string().optional(),
});

/** Keeps what the processes of `atoll up` write, one file each, and shows people what they should see. */
export class LogFiles {
  readonly #directory: string;
  readonly #show: (text: string) => void;
  readonly #files = new Map<string, WriteStream>();
  /** Whose file took nothing when it was last tried. */
  readonly #failing = new Set<string>();

  private constructor(directory: string, show: (text: string) => void) {
    this.#directory = directory;
    this.#show = show;
  }

  static async open(directory: string, show: (text: string) => void): Promise<LogFiles> {
    await mkdir(directory, { recursive: true });
    return new LogFiles(directory, show);
  }

  /** Takes a line of a process: all of them go to its file, warnings and worse also to the screen. */
  write(process: string, line: string): void {
    this.#fileOf(process).write(`${line}\n`, (error) => {
      if (error === null || error === undefined) this.#failing.delete(process);
    });
    const text = readableLine(line);
    if (text !== undefined) this.#show(`${process.padEnd(13)} ${text}`);
  }

  close(): void {
    for (const file of this.#files.values()) file.end();
    this.#files.clear();
  }

  /** What the file did not take is gone; the next line opens it anew. Said once for as long as it lasts. */
  #lose(process: string, lost: { readonly file: WriteStream; readonly error: Error }): void {
    if (this.#files.get(process) === lost.file) this.#files.delete(process);
    if (this.#failing.has(process)) return;
    this.#failing.add(process);
    this.#show(`${process.padEnd(13)} warning: its log can't be written: ${lost.error.message}`);
  }

  #fileOf(process: string): WriteStream {
    const open = this.#files.get(process);
    if (open !== undefined) return open;
    const file = createWriteStream(join(this.#directory, `${process}.log`), { flags: "a" });
    // Such as a full disk: everything serves all the same. Without a listener it would end all of Atoll.
    file.on("error", (error) => this.#lose(process, { file, error }));
    this.#files.set(process, file);
    return file;
  }
}

/** The line as people read it; `undefined` when it is not worth their attention. */
export function readableLine(line: string): string | undefined {
  const record = parseLogLine(line);
  // What is no log record is a stack trace or a runtime's warning: always worth seeing.
  if (record === undefined) return line.trim() === "" ? undefined : line;
  if (record.level < WARNING) return undefined;
  const level = LEVEL_NAMES[record.level] ?? "notice";
  const details = [record.err?.message, record.reason].filter((detail) => detail !== undefined);
  return [`${level}: ${record.msg ?? ""}`, ...details].join(": ");
}

function parseLogLine(line: string): z.infer<typeof LogLine> | undefined {
  try {
    return LogLine.parse(JSON.parse(line));
  } catch {
    // Not JSON, or not of pino: a plain line, which the caller shows as it is.
    return undefined;
  }
}
