import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { NodeName, Region, StateRevision } from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import { openSqliteDatabase } from "../database/sqlite-database.ts";
import { LIMITS } from "../limits.ts";
import { TurnedClock } from "../test-support/turned-clock.ts";
import { EMPTY_REPORT, FleetRegistry } from "./fleet-registry.ts";
import { FleetView } from "./fleet-view.ts";

const FRA = NodeName.parse("fra");

/** A control plane, as far as it shares what it knows of nodes. */
class Member {
  readonly registry = new FleetRegistry();
  readonly clock = new TurnedClock();
  readonly view: FleetView;

  constructor(id: string) {
    const { registry, clock } = this;
    const log = pino({ level: "silent" });
    this.view = new FleetView({ ...{ id, database, registry, clock, log }, tell: () => {} });
  }

  /** The node's connection to it came, or ended. */
  has(connected: boolean): void {
    const revision = StateRevision.parse(1);
    const told = { name: FRA, region: Region.parse("eu"), revision, failures: [] };
    this.registry.update({ ...told, connected, report: EMPTY_REPORT });
  }

  /** Whether it takes the node for connected, some time later. */
  sees(ms: number): boolean | undefined {
    this.clock.advanceMs(ms);
    this.clock.turn();
    return this.registry.get(FRA)?.connected;
  }
}

let database: Database;
let first: Member;
let second: Member;
beforeEach(async () => {
  database = await openSqliteDatabase(":memory:");
  [first, second] = [new Member("first"), new Member("second")];
});
afterEach(async () => {
  for (const { view } of [first, second]) await view.close();
  await database.destroy();
});

test("shared nodes: those of a control plane that shows no life are gone after its time", async () => {
  first.has(true);
  await waitFor(() => expect(second.sees(0)).toBe(true));
  const startMs = second.clock.monotonicMs();
  await waitFor(() => expect(second.sees(1_000)).toBe(false));
  const silentMs = second.clock.monotonicMs() - startMs;
  expect(silentMs).toBeGreaterThanOrEqual(LIMITS.controlPlaneSilenceMs - LIMITS.stateLookMs);
  // It was only stuck.
  first.sees(LIMITS.controlPlaneAliveMs);
  await waitFor(() => expect(second.sees(0)).toBe(true));
});

test("shared nodes: while the database is away none is gone", async () => {
  first.has(true);
  await waitFor(() => expect(second.sees(0)).toBe(true));
  await database.schema.alterTable("node_statuses").renameTo("away").execute();
  for (let passed = 0; passed < 60; passed += 1) {
    expect(second.sees(1_000)).toBe(true);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await database.schema.alterTable("away").renameTo("node_statuses").execute();
  for (let look = 0; look < 3; look += 1) {
    expect(second.sees(1_000)).toBe(true);
    await database.selectFrom("node_statuses").select("node").execute();
  }
});

test("shared nodes: one whose connection elsewhere was written late, and has ended, is where it is", async () => {
  second.has(true);
  await waitFor(() => expect(first.sees(0)).toBe(true));
  // The node was there before it was here, and that connection was not yet known to be dead.
  first.has(true);
  await waitFor(() => expect(second.sees(0)).toBe(true));
  await waitFor(async () => expect(await holder()).toBe("first"));
  first.has(false);
  await waitFor(async () => {
    expect([first.sees(0), second.sees(0)]).toEqual([true, true]);
    expect(await holder()).toBe("second");
  });
});

async function holder(): Promise<string | undefined> {
  const rows = database.selectFrom("node_statuses").select("control_plane");
  return (await rows.executeTakeFirst())?.control_plane;
}
