import type { VersionId, WorkerKey } from "@atoll/control-plane/contract";

/**
 * What requests are sent to: a worker by its key, whichever version that is; or one very version of it, as
 * `<worker key>@<version>`.
 */
export type TargetKey = string;

export function versionTarget(worker: WorkerKey, version: VersionId): TargetKey {
  return `${worker}@${version}`;
}

/** The worker that a target belongs to. */
export function workerOfTarget(target: TargetKey): WorkerKey {
  const end = target.indexOf("@");
  return end === -1 ? target : target.slice(0, end);
}

/** Whether a target is one very version. */
export function isVersionTarget(target: TargetKey): boolean {
  return target.includes("@");
}
