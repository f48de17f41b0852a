import { mkdir, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import {
  AccountId,
  DayQuota,
  DayUse,
  decodeMessage,
  encodeMessage,
} from "@atoll/control-plane/contract";
import type { Logger } from "pino";
import { z } from "zod";
import { checkedContent, withChecksum } from "../sync/checksummed.ts";
import { writeDurably } from "../sync/durable-file.ts";

/** What a node knows of quotas by day. */
export const DayRecord = z.object({
  /** What accounts used here. */
  day: z.iso.date(),
  used: z.array(DayUse.extend({ account: AccountId })),
  /** As the control plane has told. */
  quotas: z.array(DayQuota),
});
export type DayRecord = z.infer<typeof DayRecord>;

const FILE_NAME = "day.bin";

/** Keeps it on disk, for a node that restarts with nobody to ask. */
export class DayFile {
  readonly #directory: string;
  readonly #log: Logger;

  constructor(options: { readonly directory: string; readonly log: Logger }) {
    this.#directory = options.directory;
    this.#log = options.log;
  }

  /** `undefined` when there is none, or what is there is damaged. */
  async load(): Promise<DayRecord | undefined> {
    const path = join(this.#directory, FILE_NAME);
    const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw error;
    });
    if (bytes === undefined) return undefined;
    try {
      return decodeMessage(DayRecord, checkedContent(bytes));
    } catch (error) {
      // The control plane tells all of it again, but for what this node has not told yet.
      await rename(path, `${path}.damaged`);
      this.#log.error(
        { err: error, path },
        "what accounts used today is damaged: going on without",
      );
      return undefined;
    }
  }

  /** Resolves when it is on disk. */
  async save(record: DayRecord): Promise<void> {
    await mkdir(this.#directory, { recursive: true });
    const content = withChecksum(encodeMessage(record));
    await writeDurably(join(this.#directory, FILE_NAME), content, { mode: 0o600 });
  }
}
