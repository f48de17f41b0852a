import type { KeyObject } from "node:crypto";
import { sealBox, type DeployedVersion, type DesiredWorker } from "../contract/index.ts";
import type { WorkerState } from "../desired-state/worker-states.ts";

/** The form that travels: each version's secrets in a box that only the node with this key can open. */
export function sealWorker(worker: WorkerState, sealingKey: KeyObject): DesiredWorker {
  const versions = worker.versions.map(({ secrets, ...version }): DeployedVersion => {
    if (Object.keys(secrets).length === 0) return version;
    const content = Buffer.from(JSON.stringify(secrets));
    return { ...version, secrets: sealBox(sealingKey, content) };
  });
  const { routes, tailConsumers } = worker;
  return { ...worker, versions, routes: [...routes], tailConsumers: [...tailConsumers] };
}
