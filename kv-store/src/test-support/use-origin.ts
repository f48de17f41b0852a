import { afterEach, beforeEach } from "vitest";
import type { KvRecord } from "../entry.ts";
import { Revision, type HistoryPoint, type NamespaceId } from "../names.ts";
import type { ManagedOrigin } from "../origin/administration.ts";
import type { LogHorizon } from "../origin/log-horizon.ts";
import type { KvOrigin } from "../origin/origin.ts";
import { EMPTY_STATE } from "../state-digest.ts";
import { ManualClock } from "./manual-clock.ts";
import type { OriginPlace } from "./origin-place.ts";

/** Where every history begins. */
export const BEGINNING: HistoryPoint = { revision: Revision.parse(0), digest: EMPTY_STATE };

interface OpenedOrigin {
  readonly clock: ManualClock;
  readonly origin: ManagedOrigin;
}

/**
 * Gives each test of the suite that calls it an origin in a place of its own, with these namespaces, and
 * removes both afterwards. `onOpen` gets it each time that it was opened.
 */
export function useOrigin(
  createPlace: () => Promise<OriginPlace>,
  suite: {
    readonly namespaces: ReadonlyArray<NamespaceId>;
    readonly onOpen: (opened: OpenedOrigin) => void;
  },
): {
  /** Closes it, if it is open, and opens it again where its data is. */
  readonly reopen: (horizon?: LogHorizon) => Promise<void>;
} {
  let clock: ManualClock;
  let place: OriginPlace;
  let origin: ManagedOrigin;

  async function open(horizon?: LogHorizon): Promise<void> {
    origin = await place.open(clock, horizon);
    suite.onOpen({ clock, origin });
  }

  beforeEach(async () => {
    clock = new ManualClock();
    place = await createPlace();
    await open();
    for (const namespace of suite.namespaces) await origin.createNamespace(namespace);
  });
  afterEach(async () => {
    await origin.close();
    await place.remove();
  });
  return {
    reopen: async (horizon) => {
      await origin.close();
      await open(horizon);
    },
  };
}

/** The records of one page. Rejected when the log does not go on from there. */
export async function recordsAfter(
  origin: KvOrigin,
  namespace: NamespaceId,
  after: HistoryPoint,
): Promise<ReadonlyArray<KvRecord>> {
  const page = await origin.readLog(namespace, after);
  if (page.kind === "records") return page.records;
  throw new Error(`the log is ${page.kind} behind ${after.revision}`);
}
