import type { WorkerKey } from "@atoll/control-plane/contract";
import { previewTarget, type TargetKey } from "./target-key.ts";

/** A worker, and the preview of it that a host names. */
export interface PreviewRoute {
  readonly worker: WorkerKey;
  readonly target: TargetKey;
}

/**
 * Finds the preview behind `<label>-<host>`. Names and labels may have dashes of their own: the longest name
 * of a worker wins, as a more specific route does.
 */
export function findPreview(
  hosts: ReadonlyMap<string, WorkerKey>,
  host: string,
): PreviewRoute | undefined {
  const end = host.indexOf(".");
  if (hosts.size === 0 || end === -1) return undefined;
  for (
    let dash = host.indexOf("-", 1);
    dash !== -1 && dash < end;
    dash = host.indexOf("-", dash + 1)
  ) {
    const worker = hosts.get(host.slice(dash + 1));
    if (worker !== undefined) return { worker, target: previewTarget(worker, host.slice(0, dash)) };
  }
  return undefined;
}
