import { join } from "node:path";
import { AccountId, DayQuota, DayUse } from "@atoll/control-plane/contract";
import type { Logger } from "pino";
import { z } from "zod";
import { ChecksummedFile } from "../sync/checksummed-file.ts";

/** What a node knows of quotas by day. */
export const DayRecord = z.object({
  /** What accounts used here. */
  day: z.iso.date(),
  used: z.array(DayUse.extend({ account: AccountId })),
  /** As the control plane has told. */
  quotas: z.array(DayQuota),
});
export type DayRecord = z.infer<typeof DayRecord>;

/** Keeps it on disk, for a node that restarts with nobody to ask. */
export class DayFile extends ChecksummedFile<typeof DayRecord> {
  constructor({ directory, log }: { readonly directory: string; readonly log: Logger }) {
    super({
      path: join(directory, "day.bin"),
      schema: DayRecord,
      // The control plane tells all of it again, but for what this node has not told yet.
      damageMessage: "what accounts used today is damaged: going on without",
      log,
    });
  }
}
