import type { Version } from "@atoll/control-plane/contract";
import { LIMITS } from "../limits.ts";
import type { CellLoad } from "./cell-activity.ts";

/** For how many looks in a row a group had too few cells, or more than it needs. Replaced, never changed. */
export interface LoadTrend {
  readonly full: number;
  readonly spare: number;
}

export const NO_TREND: LoadTrend = { full: 0, spare: 0 };

/**
 * The trend after one more look at all cells of a group, and at how many cores had nothing to do. It has too few when
 * each of them has a core's work and there is a core to run another cell on: without one, more cells make each request
 * dearer and none faster. It has more than it needs when one fewer would be far from that. Between the two nothing
 * happens, so that a group does not go back and forth.
 */
export function followLoad(
  trend: LoadTrend,
  loads: ReadonlyArray<CellLoad>,
  spareCores: number,
): LoadTrend {
  const isFull = loads.length > 0 && loads.every(fillsCore) && spareCores >= LIMITS.growSpareCores;
  const sum = loads.reduce((total, { busyShare }) => total + busyShare, 0);
  const isSpare = loads.length > 1 && sum / (loads.length - 1) <= LIMITS.spareCoreShare;
  return { full: isFull ? trend.full + 1 : 0, spare: isSpare ? trend.spare + 1 : 0 };
}

function fillsCore({ busyShare, ranShare }: CellLoad): boolean {
  return busyShare >= LIMITS.fullCoreShare && ranShare >= LIMITS.grantedCoreShare;
}

/** Whether a group has been full for so long that what it has in flight decides. */
export function mayGrow({ full }: LoadTrend): boolean {
  return full >= LIMITS.growLooks;
}

/**
 * How many cells a group should have. One more when it has been full for a while and some of its requests
 * wait for others: a single long one would be no faster with two.
 */
export function cellsWanted(
  trend: LoadTrend,
  group: { readonly cells: number; readonly inFlight: number; readonly cellsMax: number },
): number {
  const { cells, inFlight, cellsMax } = group;
  if (mayGrow(trend) && inFlight > cells && cells < cellsMax) return cells + 1;
  if (trend.spare >= LIMITS.shrinkLooks) return cells - 1;
  return cells;
}

/**
 * Whether a group may have several cells at a time. One whose workers keep state in their cell may not:
 * Durable Objects live in exactly one. No binding of that kind exists yet; it has to be named here.
 */
export function mayHaveSeveralCells(
  group: ReadonlyArray<{ readonly version: Pick<Version, "bindings"> }>,
): boolean {
  return group.every(({ version }) =>
    version.bindings.every(({ type }) => STATELESS_BINDINGS[type]),
  );
}

const STATELESS_BINDINGS: Readonly<Record<Version["bindings"][number]["type"], boolean>> = {
  plain_text: true,
  json: true,
  secret_text: true,
  kv_namespace: true,
  service: true,
  assets: true,
  version_metadata: true,
  wasm_module: true,
  text_blob: true,
  data_blob: true,
};
