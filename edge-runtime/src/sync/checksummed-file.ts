import { mkdir, readFile, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { decodeMessage, encodeMessage } from "@atoll/control-plane/contract";
import type { Logger } from "pino";
import type { z } from "zod";
import { checkedContent, withChecksum } from "./checksummed.ts";
import { writeDurably } from "./durable-file.ts";

/** A record on disk, whole or as it was before: its SHA-256, then its encoding. */
export class ChecksummedFile<Schema extends z.ZodType> {
  readonly #options: {
    readonly path: string;
    readonly schema: Schema;
    /** What the log is told when the file is damaged. */
    readonly damageMessage: string;
    readonly log: Logger;
  };

  constructor(options: {
    readonly path: string;
    readonly schema: Schema;
    readonly damageMessage: string;
    readonly log: Logger;
  }) {
    this.#options = options;
  }

  /** `undefined` when there is none, or what is there is damaged: that is kept beside, for whoever wants to know why. */
  async load(): Promise<z.output<Schema> | undefined> {
    const { path, schema, damageMessage, log } = this.#options;
    const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw error;
    });
    if (bytes === undefined) return undefined;
    try {
      return decodeMessage(schema, checkedContent(bytes));
    } catch (error) {
      await rename(path, `${path}.damaged`);
      log.error({ err: error, path }, damageMessage);
      return undefined;
    }
  }

  /** Resolves when it is on disk. */
  async save(record: z.output<Schema>): Promise<void> {
    const { path } = this.#options;
    await mkdir(dirname(path), { recursive: true });
    await writeDurably(path, withChecksum(encodeMessage(record)), { mode: 0o600 });
  }
}
