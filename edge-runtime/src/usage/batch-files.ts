import { mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { decodeMessage, encodeMessage, UsageBatch } from "@atoll/control-plane/contract";
import type { Logger } from "pino";
import { checkedContent, withChecksum } from "../sync/checksummed.ts";
import { writeDurably } from "../sync/durable-file.ts";

/** `<sequence>.batch` waits for the control plane, the last one that does not is `<sequence>.done`. */
const NAME = /^(\d{16})\.(batch|done|damaged)$/;

/** Batches of usage on disk, a file for each. Their names are how the next number is known after a restart. */
export class BatchFiles {
  readonly #directory: string;
  readonly #log: Logger;

  constructor(options: { readonly directory: string; readonly log: Logger }) {
    this.#directory = options.directory;
    this.#log = options.log;
  }

  /** What an earlier run left: the batches by their number, and the highest number that was ever given. */
  async load(): Promise<{ readonly batches: ReadonlyArray<UsageBatch>; readonly last: number }> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const batches: UsageBatch[] = [];
    let last = 0;
    for (const name of (await readdir(this.#directory)).toSorted()) {
      const [, digits, kind] = NAME.exec(name) ?? [];
      // A write that was broken off.
      if (digits === undefined) await rm(join(this.#directory, name), { force: true });
      else last = Math.max(last, Number(digits));
      const batch = kind === "batch" ? await this.#read(name) : undefined;
      if (batch !== undefined) batches.push(batch);
    }
    return { batches, last };
  }

  /** Resolves when the batch is on disk, in place of what it was before. */
  async write(batch: UsageBatch): Promise<void> {
    const content = withChecksum(encodeMessage(batch));
    await writeDurably(this.#path(batch.sequence, "batch"), content, { mode: 0o600 });
  }

  /**
   * Forgets batches, but not the highest number. When it comes to a crash in between, some are still there:
   * the control plane knows that it has seen them.
   */
  async finish(sequences: ReadonlyArray<number>): Promise<void> {
    const highest = Math.max(...sequences);
    for (const sequence of sequences) {
      if (sequence !== highest) await rm(this.#path(sequence, "batch"), { force: true });
    }
    await rename(this.#path(highest, "batch"), this.#path(highest, "done")).catch(ignoreAbsence);
    for (const name of await readdir(this.#directory)) {
      const [, digits, kind] = NAME.exec(name) ?? [];
      const isEarlier = kind === "done" && Number(digits) < highest;
      if (isEarlier) await rm(join(this.#directory, name), { force: true });
    }
  }

  async #read(name: string): Promise<UsageBatch | undefined> {
    const path = join(this.#directory, name);
    try {
      return decodeMessage(UsageBatch, checkedContent(await readFile(path)));
    } catch (error) {
      this.#log.error({ err: error, path }, "a batch of usage is damaged and set aside");
      await rename(path, path.replace(/batch$/, "damaged"));
      return undefined;
    }
  }

  #path(sequence: number, kind: "batch" | "done"): string {
    return join(this.#directory, `${String(sequence).padStart(16, "0")}.${kind}`);
  }
}

/** A batch that could never be written has no number that anybody knows. */
function ignoreAbsence(error: NodeJS.ErrnoException): void {
  if (error.code !== "ENOENT") throw error;
}
