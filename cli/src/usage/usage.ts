import { WorkerUsage } from "@atoll/control-plane";
import Table from "cli-table3";
import { z } from "zod";
import { formatBytes } from "../bytes.ts";
import { UsageError } from "../settings.ts";
import type { WranglerEnvironment } from "../wrangler-environment.ts";

// For people in a hurry, like the status.
const ANSWER_MS = 5_000;

const UsageAnswer = z.object({
  result: z.object({ from: z.string(), to: z.string(), workers: z.array(WorkerUsage) }),
});

/** What an account's workers used in a period. */
export type UsageReport = z.infer<typeof UsageAnswer>["result"];

/** Asks the control plane, for one worker or all of them. Throws a `UsageError` when it can't be had. */
export async function fetchUsage(
  variables: WranglerEnvironment,
  worker: string | undefined,
): Promise<UsageReport> {
  const { CLOUDFLARE_API_BASE_URL: base, CLOUDFLARE_ACCOUNT_ID: account } = variables;
  const url = new URL(`${base}/accounts/${account}/usage`);
  if (worker !== undefined) url.searchParams.set("worker", worker);
  const response = await fetch(url, {
    headers: { authorization: `Bearer ${variables.CLOUDFLARE_API_TOKEN}` },
    signal: AbortSignal.timeout(ANSWER_MS),
  }).catch((cause: unknown) => {
    const message = `The control plane at ${url.origin} does not answer: is Atoll running?`;
    throw new UsageError(message, { cause });
  });
  if (response.ok) return UsageAnswer.parse(await response.json()).result;
  const answer = (await response.text()).slice(0, 300);
  throw new UsageError(`The control plane at ${url.origin} refused: ${response.status} ${answer}`);
}

/** The report as people read it: a row for each version. */
export function formatUsage({ from, to, workers }: UsageReport): string {
  const table = new Table({
    head: [
      ...["worker", "version", "requests", "errors", "cpu", "wall", "memory", "in", "out"],
      ...["subrequests", "kv reads", "kv writes", "kv deletes", "kv lists"],
    ],
    style: { head: [], border: [] },
  });
  for (const row of workers) {
    table.push([
      row.worker,
      row.version.slice(0, 8),
      row.requests,
      row.errors,
      formatMs(row.cpuMs),
      formatMs(row.wallMs),
      formatBytes(row.memoryPeakBytes),
      formatBytes(row.bytesIn),
      formatBytes(row.bytesOut),
      row.subrequests,
      row.kvReads,
      row.kvWrites,
      row.kvDeletes,
      row.kvLists,
    ]);
  }
  return [`usage from ${from} to ${to}`, table.toString()].join("\n");
}

function formatMs(ms: number): string {
  return ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`;
}
