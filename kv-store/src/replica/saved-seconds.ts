import { closeSync, openSync, readSync, writeSync } from "node:fs";

// Decimal digits of fixed length: written at once, in place, so that there is always a whole number.
const DIGITS = 12;
const FORM = /^\d{12}$/;

/**
 * A number of seconds in a file. Written without waiting for the disk: it outlives the process, and a
 * machine that loses its power may lose the last few.
 */
export class SavedSeconds {
  readonly #file: number;

  /** Creates the file when there is none. Throws what the file system does. */
  constructor(path: string) {
    this.#file = openOrCreate(path);
  }

  /** `undefined` when there is none, or what is there is no number. */
  read(): number | undefined {
    const bytes = Buffer.alloc(DIGITS);
    const length = readSync(this.#file, bytes, 0, DIGITS, 0);
    const text = bytes.toString("latin1", 0, length);
    return FORM.test(text) ? Number(text) : undefined;
  }

  write(seconds: number): void {
    writeSync(this.#file, String(seconds).padStart(DIGITS, "0"), 0, "latin1");
  }

  close(): void {
    closeSync(this.#file);
  }
}

function openOrCreate(path: string): number {
  try {
    return openSync(path, "r+");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    return openSync(path, "w+");
  }
}
