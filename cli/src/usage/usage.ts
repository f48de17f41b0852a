import { AccountDay, WorkerUsage } from "@atoll/control-plane";
import Table from "cli-table3";
import { z } from "zod";
import { inHurry, type AccountApi } from "../account-api.ts";
import { formatBytes } from "../bytes.ts";

/** What an account's workers used in a period. */
const UsageReport = z.object({
  from: z.string(),
  to: z.string(),
  workers: z.array(WorkerUsage),
  /** Of the account. */
  today: AccountDay,
});
export type UsageReport = z.infer<typeof UsageReport>;

/** Asks for one worker or all of them. Throws a `UsageError` when it can't be had. */
export async function fetchUsage(
  api: AccountApi,
  worker: string | undefined,
): Promise<UsageReport> {
  const query = worker === undefined ? "" : `?${new URLSearchParams({ worker }).toString()}`;
  return api.call(`/usage${query}`, UsageReport, inHurry());
}

/** The report as people read it: a row for each version. */
export function formatUsage({ from, to, workers, today }: UsageReport): string {
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
  return [`usage from ${from} to ${to}`, table.toString(), formatToday(today)].join("\n");
}

function formatToday(today: AccountDay): string {
  const { requests, requestsMax, cpuMs, cpuMsMax, isUsedUp, endsAt } = today;
  const { kvReads, kvReadsMax, kvLists, kvListsMax } = today;
  const used = [
    `${ofMax(requests, requestsMax)} requests`,
    `${formatMs(cpuMs)}${cpuMsMax === null ? "" : ` of ${formatMs(cpuMsMax)}`} of CPU`,
    `${ofMax(kvReads, kvReadsMax)} KV reads`,
    `${ofMax(kvLists, kvListsMax)} KV lists`,
  ];
  const state = isUsedUp ? ": used up, requests are refused" : "";
  return `today, until ${endsAt}: ${used.join(", ")}${state}`;
}

function ofMax(count: number, max: number | null): string {
  return max === null ? `${count}` : `${count} of ${max}`;
}

function formatMs(ms: number): string {
  return ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`;
}
