import { createReadStream, createWriteStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { KvError, LIMITS } from "@atoll/kv-store";
import { linesOf, parseDumpLine, type DumpLine } from "@atoll/kv-store/management";
import { UsageError } from "../settings.ts";

/** A line of a dump that holds an entry. */
export interface EntryLine {
  readonly number: number;
  readonly text: string;
}

/**
 * Reads a dump from a file, or from standard input, which is put into a temporary file first: a dump is read
 * twice, so that nothing is written of one that is wrong anywhere.
 */
export async function withDump<Result>(
  file: string | undefined,
  work: (path: string) => Promise<Result>,
): Promise<Result> {
  if (file !== undefined) return work(file);
  const directory = await mkdtemp(join(tmpdir(), "atoll-import-"));
  try {
    const path = join(directory, "dump");
    await pipeline(process.stdin, createWriteStream(path, { mode: 0o600 }));
    return await work(path);
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** The entries of a dump, one after another. Throws a `UsageError` that names the line and the rule it breaks. */
export async function* entryLines(path: string): AsyncGenerator<EntryLine> {
  const order = new DumpOrder();
  // Of the line that is being read.
  let number = 1;
  try {
    for await (const text of linesOf(createReadStream(path), LIMITS.dumpLineBytesMax)) {
      if (order.isEntry(parseDumpLine(text))) yield { number, text };
      number += 1;
    }
    order.end();
  } catch (error) {
    if (isSystemError(error)) throw new UsageError(error.message, { cause: error });
    if (!(error instanceof KvError)) throw error;
    throw new UsageError(`line ${number}: ${error.message}. Nothing was written.`, {
      cause: error,
    });
  }
}

/** Such as that there is no such file. */
export function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && "syscall" in error;
}

/** Which line may follow which. Fails with `import_invalid`. */
class DumpOrder {
  #lines = 0;
  #entries = 0;
  #hasHead = false;
  #isEnded = false;

  isEntry(line: DumpLine): boolean {
    this.#lines += 1;
    if (this.#isEnded) throw invalid("it follows the dump's last line");
    switch (line.kind) {
      case "entry":
        this.#entries += 1;
        return true;
      case "head":
        if (this.#lines > 1) throw invalid("a dump's first line can only be the first");
        this.#hasHead = true;
        return false;
      case "end":
        this.#isEnded = true;
        if (line.end.entries === this.#entries) return false;
        throw invalid(`${this.#entries} entries come before it, and it says ${line.end.entries}`);
    }
  }

  /** The file is at its end. */
  end(): void {
    if (!this.#hasHead || this.#isEnded) return;
    throw invalid("the file ends before it, without a dump's last line: it was cut");
  }
}

function invalid(rule: string): KvError {
  return new KvError("import_invalid", rule);
}
