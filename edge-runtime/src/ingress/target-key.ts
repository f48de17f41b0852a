import type { VersionId, WorkerKey } from "@atoll/control-plane/contract";

/**
 * What requests are sent to: a worker by its key, whichever version that is; one very version of those that
 * serve, as `<worker key>@<version>`; or a preview, as `<worker key>@preview:<name>`. To the ingress its name is
 * a label, to the cells the version that this leads to.
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

const PREVIEW = "@preview:";

export function previewTarget(worker: WorkerKey, name: string): TargetKey {
  return `${worker}${PREVIEW}${name}`;
}

/** The name of a preview; `undefined` for what is none. */
export function previewNameOf(target: TargetKey): string | undefined {
  const begin = target.indexOf(PREVIEW);
  return begin === -1 ? undefined : target.slice(begin + PREVIEW.length);
}
