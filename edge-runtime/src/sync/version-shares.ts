import type { DeployedVersion, DesiredWorker } from "@atoll/control-plane/contract";
import type { VersionRole } from "../cells/version-role.ts";
import type { Split } from "../ingress/split.ts";
import { workerKey } from "./state-follower.ts";

/** A version that a worker's requests go to, and what it is to the worker. */
export interface RoledVersion {
  readonly deployed: DeployedVersion;
  readonly role: VersionRole;
}

/** The versions of a worker: the main one is that with the larger share, of equals the older one. */
export function roledVersions({ versions }: DesiredWorker): ReadonlyArray<RoledVersion> {
  const [main, ...others] = versions.toSorted(
    (one, two) => two.percentage - one.percentage || one.version.number - two.version.number,
  );
  if (main === undefined) return [];
  if (others.length === 0) return [{ deployed: main, role: "only" }];
  return [
    { deployed: main, role: "main" },
    ...others.map((deployed) => ({ deployed, role: "other" as const })),
  ];
}

/** How a worker's requests are split; `undefined` when one version has them all to itself. */
export function splitOf(worker: DesiredWorker): Split | undefined {
  const [newer, older] = worker.versions.toSorted(
    (one, two) => two.version.number - one.version.number,
  );
  if (newer === undefined || older === undefined) return undefined;
  return { worker: workerKey(worker), versions: [shareOf(newer), shareOf(older)] };
}

function shareOf({ version, percentage }: DeployedVersion): Split["versions"][0] {
  return { id: version.id, percentage };
}
