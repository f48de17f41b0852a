import { previewTarget, type TargetKey, versionTarget } from "../ingress/target-key.ts";
import type { GroupMember } from "../config/group-config.ts";

/**
 * What a version is to its worker on this node: the only one that serves; of two that do the one with the
 * larger share, in whose place in a cell the other one is called as well, for its share of the calls by bindings;
 * the other one, which has a cell of its own for requests; or none that serves, which somebody looks at.
 */
export type VersionRole = "only" | "main" | "other" | "preview";

/** A version with its role, `only` if it tells none. */
export type RoledMember = Pick<GroupMember, "key" | "version"> & { readonly role?: VersionRole };

/** Whether a version runs in a cell of its own, beside that of its worker. */
export function isBeside({ role }: Pick<RoledMember, "role">): boolean {
  return role === "other" || role === "preview";
}

/** Whether a version is started only when somebody asks for it, however its worker is used. */
export function isOnDemand({ role }: Pick<RoledMember, "role">): boolean {
  return role === "preview";
}

/** What a version answers for. */
function targetsOf({ key, version, role = "only" }: RoledMember): ReadonlyArray<TargetKey> {
  switch (role) {
    case "only":
      return [key];
    case "main":
      return [key, versionTarget(key, version.id)];
    case "other":
      return [versionTarget(key, version.id)];
    case "preview":
      return [previewTarget(key, version.id)];
  }
}

/**
 * What a group of `planCells` answers for. Where a version runs beside its worker, whoever else is in its
 * cell is there for its calls alone.
 */
export function targetsOfGroup(group: ReadonlyArray<RoledMember>): ReadonlyArray<TargetKey> {
  const beside = group.find(isBeside);
  return beside === undefined ? group.flatMap(targetsOf) : targetsOf(beside);
}
