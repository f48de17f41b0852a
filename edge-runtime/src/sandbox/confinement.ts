import { availableParallelism } from "node:os";
import type { Logger } from "pino";
import { EdgeError } from "../errors.ts";
import { ControlGroups } from "./control-groups.ts";
import { findSandbox } from "./find-sandbox.ts";
import type { Sandbox } from "./sandbox.ts";

/** What confines the cells of an owner. */
export interface Confinement {
  readonly sandbox: Sandbox;
  /** Absent: nobody bounds memory and threads but the watchdog. */
  readonly groups?: ControlGroups;
  /** What the host can't give, each in a sentence for its operator. */
  readonly shortfalls: ReadonlyArray<string>;
}

/**
 * Tries out what this host can give, by using it. Rejected with `sandbox_missing` when it is required
 * and something is missing.
 */
export async function openConfinement(options: {
  readonly workerdPath: string;
  /** Names whose cells they are: of two owners, neither can do anything about the other's. */
  readonly owner: string;
  /** Refuses to do with less than everything. */
  readonly isRequired?: boolean;
  readonly log: Logger;
}): Promise<Confinement> {
  const cores = availableParallelism();
  // Before anything is started: we may have to move into another group, where our processes then are, too.
  const { groups, shortfalls } = await ControlGroups.open({ owner: options.owner, cores });
  const { sandbox, shortfall } = await findSandbox(options);
  const all = [...(shortfall === undefined ? [] : [shortfall]), ...shortfalls];
  if (options.isRequired === true && all.length > 0) {
    await groups.close();
    throw new EdgeError("sandbox_missing", all.join("; "));
  }
  options.log.info({ sandbox: sandbox.name }, "cells are confined by this sandbox");
  for (const each of all)
    options.log.warn({ shortfall: each }, "this host can't confine cells fully");
  return { sandbox, groups, shortfalls: all };
}
