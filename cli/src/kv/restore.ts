import { RestoreResult } from "@atoll/control-plane";
import { UsageError } from "../settings.ts";
import type { KvApi } from "./api.ts";
import { Progress } from "./progress.ts";

export interface RestoreOptions {
  /** Id or title. */
  readonly namespace: string;
  readonly at: Date;
  readonly dryRun: boolean;
}

/** What a whole restore did, or would do. */
export type RestoreSum = Omit<RestoreResult, "next">;

/** Takes a namespace back to a moment, part after part. */
export async function restoreNamespace(api: KvApi, options: RestoreOptions): Promise<RestoreSum> {
  const { at, dryRun } = options;
  const { id } = await api.find(options.namespace);
  const progress = new Progress();
  const sum = { puts: 0, deletes: 0 };
  let after: RestoreResult["next"] = null;
  try {
    for (;;) {
      const part: RestoreResult = await api.call(`/namespaces/${id}/restore`, RestoreResult, {
        method: "POST",
        body: JSON.stringify({ at: at.toISOString(), dry_run: dryRun, after }),
      });
      sum.puts += part.puts;
      sum.deletes += part.deletes;
      progress.show(`${sum.puts} keys restored, ${sum.deletes} removed`);
      if (part.next === null) return { to: part.to, ...sum };
      after = part.next;
    }
  } catch (error) {
    if (!(error instanceof UsageError) || after === null || dryRun) throw error;
    const text = `${sum.puts} keys were restored and ${sum.deletes} removed, up to ${JSON.stringify(after)}; repeating the same restore finishes it`;
    throw new UsageError(`${error.message}\n${text}.`, { cause: error });
  } finally {
    progress.end();
  }
}

export function formatRestore({ to, puts, deletes }: RestoreSum, options: RestoreOptions): string {
  const { namespace, at, dryRun } = options;
  const verb = dryRun ? "would be" : "were";
  return `${namespace}: ${puts} keys ${verb} restored and ${deletes} removed, to the state of ${at.toISOString()} (revision ${to})`;
}
