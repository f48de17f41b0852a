import { z } from "zod";
import type { DayBounds } from "../contract/index.ts";
import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";

const bound = z.number().int().nonnegative().nullable().default(null);

/** What an account may have. Where a bound is null, that of the installation holds, which none can exceed. */
export const AccountQuota = z.object({
  workersMax: bound,
  /** Of each worker; the one that serves stays in any case. */
  versionsKeptMax: z.number().int().positive().nullable().default(null),
  /** Modules of one version together. */
  scriptBytesMax: bound,
  /** Static files of one version, and their bytes together. */
  assetsMax: bound,
  assetBytesMax: bound,
  /** On one day (UTC) on all nodes together; see `edge-runtime/src/quotas/QUOTAS.md`. */
  requestsPerDayMax: bound,
  cpuMsPerDayMax: bound,
  /** Keys that are read from its KV namespaces, and their listings, on the same day. */
  kvReadsPerDayMax: bound,
  kvListsPerDayMax: bound,
});
export type AccountQuota = z.infer<typeof AccountQuota>;

/** How many versions of a worker, and so how many of its deployments, are kept. */
export function versionsKept({ versionsKeptMax }: AccountQuota): number {
  return Math.min(versionsKeptMax ?? LIMITS.versionsKeptMax, LIMITS.versionsKeptMax);
}

/** What it may use on one day. */
export function dayBounds(quota: AccountQuota): DayBounds {
  return {
    requestsMax: quota.requestsPerDayMax,
    cpuMsMax: quota.cpuMsPerDayMax,
    kvReadsMax: quota.kvReadsPerDayMax,
    kvListsMax: quota.kvListsPerDayMax,
  };
}

/** Throws `workers_exceeded` when an account with so many workers may have no other. */
export function refuseWorker({ workersMax }: AccountQuota, count: number): void {
  if (workersMax === null || count < workersMax) return;
  throw new ControlPlaneError(
    "workers_exceeded",
    `The account has ${count} Workers, and its quota is ${workersMax}: delete one, or ask the operator for more`,
  );
}

/** Throws `script_too_large`. */
export function refuseScript({ scriptBytesMax }: AccountQuota, bytes: number): void {
  if (scriptBytesMax === null || bytes <= scriptBytesMax) return;
  throw new ControlPlaneError(
    "script_too_large",
    `The Worker's modules have ${bytes} bytes together, and the account's quota is ${scriptBytesMax}`,
  );
}

/** Throws `assets_exceeded`. */
export function refuseAssets(
  { assetsMax, assetBytesMax }: AccountQuota,
  files: { readonly count: number; readonly bytes: number },
): void {
  const { count, bytes } = files;
  if (assetsMax !== null && count > assetsMax) {
    throw new ControlPlaneError(
      "assets_exceeded",
      `The Worker has ${count} static assets, and the account's quota is ${assetsMax}`,
    );
  }
  if (assetBytesMax === null || bytes <= assetBytesMax) return;
  throw new ControlPlaneError(
    "assets_exceeded",
    `The Worker's static assets have ${bytes} bytes together, and the account's quota is ${assetBytesMax}`,
  );
}
