import fc from "fast-check";
import { sql } from "kysely";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { NodeName } from "../contract/index.ts";
import { LIMITS } from "../limits.ts";
import { NODES, ScheduledFleet } from "../test-support/scheduled-fleet.ts";
import { parseCron } from "./cron.ts";
import { Dispatcher } from "./dispatcher.ts";

const LEASE_S = LIMITS.occurrenceLeaseMs / 1_000;

describe("dispatcher: ", () => {
  let fleet: ScheduledFleet;
  beforeEach(async () => {
    fleet = await ScheduledFleet.open(["* * * * *"]);
  });
  afterEach(() => fleet.close());

  /** Where the one run is that is under way. */
  function holder() {
    const [node, ...others] = fleet.nodes.filter(({ runs }) => runs.size > 0);
    expect(others).toEqual([]);
    if (node === undefined) throw new Error("no node has a run");
    return node;
  }

  test("an occurrence runs once, on one node, and its outcome is kept", async () => {
    await fleet.connectAll();
    await fleet.pass(59);
    expect(fleet.started).toEqual([]);
    await fleet.pass(1);
    expect(fleet.started).toHaveLength(1);
    expect(fleet.started[0]?.event).toMatchObject({
      cron: "* * * * *",
      scheduledMs: fleet.clock.nowMs(),
      run: { attempt: 1 },
    });
    const { name } = holder();
    await holder().finish("ok");
    await fleet.pass(30);
    expect(await fleet.rows()).toMatchObject([
      { state: "ended", outcome: "ok", attempts: 1, node: name, wall_ms: 5 },
    ]);
    expect(fleet.started).toHaveLength(1);
  });

  test("nodes take turns", async () => {
    await fleet.connectAll();
    const order: string[] = [];
    for (let minute = 0; minute < 6; minute += 1) {
      await fleet.pass(60);
      order.push(holder().name);
      await holder().finish("ok");
    }
    expect(new Set(order.slice(0, 3))).toEqual(new Set(NODES));
    expect(order.slice(3)).toEqual(order.slice(0, 3));
  });

  test("a node that a run could not be given to has its turns afterwards", async () => {
    await fleet.connectAll();
    await fleet.pass(59);
    await sql`create trigger refuse before update of state on occurrences
      begin select raise(abort, 'no disk'); end`.execute(fleet.database);
    await fleet.pass(1);
    await sql`drop trigger refuse`.execute(fleet.database);
    const order: string[] = [];
    for (let minute = 0; minute < 6; minute += 1) {
      await fleet.pass(minute === 0 ? 1 : 60);
      order.push(holder().name);
      await holder().finish("ok");
    }
    expect(new Set(order)).toEqual(new Set(NODES));
  });

  test("what fails is tried again, each time later, and not for ever", async () => {
    await fleet.connectAll();
    await fleet.pass(60);
    const waits: number[] = [];
    for (let attempt = 1; attempt < LIMITS.occurrenceAttemptsMax; attempt += 1) {
      const starts = (): number =>
        fleet.started.filter(({ event }) => event.run.occurrence.includes("12:01")).length;
      for (const node of fleet.nodes) await node.finish("exception");
      let seconds = 0;
      for (; starts() === attempt; seconds += 1) await fleet.pass(1);
      waits.push(seconds);
    }
    expect(waits).toEqual([5, 20, 80]);
    for (const node of fleet.nodes) await node.finish("exception");
    expect((await fleet.rows())[0]).toMatchObject({
      state: "ended",
      outcome: "exception",
      attempts: LIMITS.occurrenceAttemptsMax,
    });
  });

  test("a worker that wants no further attempt gets none", async () => {
    await fleet.connectAll();
    await fleet.pass(60);
    await holder().finish("exception", true);
    expect(await fleet.rows()).toMatchObject([
      { state: "ended", outcome: "exception", attempts: 1 },
    ]);
  });

  test("a node that was killed and is back tells that it lost its run, which another attempt makes", async () => {
    await fleet.connectAll();
    await fleet.pass(60);
    const node = holder();
    node.crash();
    await fleet.pass(2);
    await fleet.connect(node);
    expect(await fleet.rows()).toMatchObject([{ state: "pending", outcome: "nodeLost" }]);
    await fleet.pass(5);
    expect(fleet.started.map(({ event }) => event.run.attempt)).toEqual([1, 2]);
    await holder().finish("ok");
    expect(await fleet.rows()).toMatchObject([{ state: "ended", outcome: "ok", attempts: 2 }]);
  });

  test("a node that is not back loses its run when its lease ends", async () => {
    await fleet.connectAll();
    await fleet.pass(60);
    holder().crash();
    await fleet.pass(LEASE_S - 1);
    expect(fleet.started).toHaveLength(1);
    await fleet.pass(1 + 5);
    expect(fleet.started).toHaveLength(2);
  });

  test("a run is not given twice while its node is cut off for less than the lease", async () => {
    await fleet.connectAll();
    await fleet.pass(60);
    const node = holder();
    node.drop();
    await fleet.pass(LEASE_S - 5);
    await node.finish("ok");
    await fleet.connect(node);
    expect(await fleet.rows()).toMatchObject([{ state: "ended", outcome: "ok", attempts: 1 }]);
    expect(fleet.started).toHaveLength(1);
  });

  test("an end that comes after the run was held for lost spares the next attempt", async () => {
    await fleet.connectAll();
    await fleet.pass(60);
    const node = holder();
    node.drop();
    await fleet.pass(LEASE_S + 1);
    expect((await fleet.rows())[0]).toMatchObject({ state: "pending", outcome: "nodeLost" });
    await node.finish("ok");
    await fleet.connect(node);
    await fleet.pass(10);
    expect(fleet.started).toHaveLength(1);
    expect((await fleet.rows())[0]).toMatchObject({ state: "ended", outcome: "ok" });
  });

  test("a node that comes back with a run that was held for lost keeps it", async () => {
    await fleet.connectAll();
    await fleet.pass(60);
    const node = holder();
    node.drop();
    await fleet.pass(LEASE_S + 1);
    await fleet.connect(node);
    await fleet.pass(20);
    expect((await fleet.rows())[0]).toMatchObject({ state: "claimed", attempts: 1 });
    await node.finish("ok");
    expect((await fleet.rows())[0]).toMatchObject({ state: "ended", outcome: "ok" });
    expect(fleet.started).toHaveLength(1);
  });

  test("a control plane that was down for long waits for its nodes before it holds runs for lost", async () => {
    await fleet.connectAll();
    await fleet.pass(60);
    const node = holder();
    await fleet.restartControlPlane(10 * LEASE_S);
    await fleet.pass(LEASE_S / 2);
    await fleet.connect(node);
    await node.finish("ok");
    expect((await fleet.rows())[0]).toMatchObject({ state: "ended", outcome: "ok", attempts: 1 });
  });

  test("a database that was away for long costs no run whose node has it", async () => {
    await fleet.connectAll();
    await fleet.pass(60);
    const node = holder();
    // What a node tells can't be stored, and that ends its link.
    for (const each of fleet.nodes) each.drop();
    await sql`pragma query_only = on`.execute(fleet.database);
    await fleet.pass(LEASE_S + 10);
    await sql`pragma query_only = off`.execute(fleet.database);
    for (const other of fleet.nodes) if (other !== node) await fleet.connect(other);
    // As long as a node may wait before it tries again.
    await fleet.pass(10);
    await fleet.connect(node);
    await node.finish("ok");
    expect(await fleet.rows()).toMatchObject([{ state: "ended", outcome: "ok", attempts: 1 }]);
    expect(fleet.started).toHaveLength(1);
  });

  test("what was missed while nothing ran is made up for when it is young, and told when it is not", async () => {
    await fleet.restartControlPlane(20 * 60 + 30);
    await fleet.connectAll();
    await fleet.pass(1);
    const rows = await fleet.rows();
    const states = rows.map(({ state }) => state);
    expect(states).toEqual([
      ...Array.from({ length: 5 }, () => "missed"),
      ...Array.from({ length: 15 }, () => "claimed"),
    ]);
    expect(fleet.started).toHaveLength(15);
  });

  test("what no node was there for in time is missed", async () => {
    await fleet.pass(60 + LIMITS.occurrenceMissedMs / 1_000 + 1);
    const [first, second] = await fleet.rows();
    expect([first?.state, second?.state]).toEqual(["missed", "pending"]);
  });

  test("a year without a control plane is over in no time, and keeps to its bounds", async () => {
    await fleet.restartControlPlane(365 * 24 * 60 * 60);
    const begunMs = performance.now();
    await fleet.pass(1);
    expect(performance.now() - begunMs).toBeLessThan(5_000);
    expect(await fleet.rows()).toHaveLength(LIMITS.occurrencesKeptMax);
  });

  test("only the latest outcomes are kept", async () => {
    await fleet.connectAll();
    for (let minute = 0; minute < LIMITS.occurrencesKeptMax + 5; minute += 1) {
      fleet.clock.advanceMs(59_000);
      await fleet.pass(1);
      for (const node of fleet.nodes) await node.finish("ok");
    }
    expect(await fleet.rows()).toHaveLength(LIMITS.occurrencesKeptMax);
    expect(fleet.started).toHaveLength(LIMITS.occurrencesKeptMax + 5);
  });

  test("two control planes on one database make and give each occurrence once", async () => {
    const { database, clock } = fleet;
    const given: string[] = [];
    const dispatchers = NODES.map((name) => {
      const dispatcher = new Dispatcher({ database, clock, log: pino({ level: "silent" }) });
      const link = dispatcher.connect({
        node: NodeName.parse(name),
        send: ({ run }) => given.push(run.occurrence),
        acknowledge: () => undefined,
        runs: () => true,
      });
      return { dispatcher, link };
    });
    await Promise.all(dispatchers.map(({ link }) => link.hold([])));
    for (let minute = 0; minute < 10; minute += 1) {
      clock.advanceMs(60_000);
      await Promise.all(dispatchers.map(({ dispatcher }) => dispatcher.look()));
    }
    expect(given).toHaveLength(10);
    expect(new Set(given).size).toBe(10);
    expect(await fleet.rows()).toHaveLength(10);
  });

  test("a node is given no more than it may have at a time", async () => {
    const [node] = fleet.nodes;
    if (node === undefined) throw new Error("no node");
    await fleet.database.deleteFrom("schedules").execute();
    const at = new Date(fleet.clock.nowMs()).toISOString();
    for (let index = 0; index < LIMITS.occurrencesPerNodeMax + 3; index += 1) {
      const row = { id: `m${index}`, cron: `* * * * *${" ".repeat(index)}`, next_at: at };
      await fleet.database
        .insertInto("schedules")
        .values({ ...row, worker_id: "w", created_at: at })
        .execute();
    }
    await fleet.connect(node);
    await fleet.pass(1);
    expect(node.runs.size).toBe(LIMITS.occurrencesPerNodeMax);
    await node.finish("ok");
    await fleet.pass(1);
    expect(node.runs.size).toBe(3);
  });
});

const node = fc.nat({ max: NODES.length - 1 });
const seconds = (max: number) => fc.integer({ min: 0, max });
const action = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("pass" as const), seconds: seconds(70) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("finish" as const),
      node,
      outcome: fc.constantFrom("ok", "exception", "cellLost", "unavailable"),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("crash" as const), node }) },
  // Shorter than the lease: a node that is away for longer is held for dead.
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("drop" as const),
      node,
      seconds: seconds(LEASE_S - 6),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("back" as const), node }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("restart" as const),
      down: fc.oneof(seconds(5), seconds(25 * 60)),
      late: seconds(LEASE_S - 6),
    }),
  },
);
type Action = typeof action extends fc.Arbitrary<infer Value> ? Value : never;

async function perform(fleet: ScheduledFleet, step: Action): Promise<void> {
  switch (step.kind) {
    case "pass":
      return fleet.pass(step.seconds);
    case "finish":
      return fleet.nodes[step.node]?.finish(step.outcome);
    case "crash":
      return fleet.nodes[step.node]?.crash();
    case "drop": {
      const target = fleet.nodes[step.node];
      if (target?.isConnected !== true) return undefined;
      target.drop();
      await fleet.pass(step.seconds);
      return fleet.connect(target);
    }
    case "back": {
      const target = fleet.nodes[step.node];
      return target?.isConnected === false ? fleet.connect(target) : undefined;
    }
    case "restart": {
      const alive = fleet.connected;
      await fleet.restartControlPlane(step.down);
      await fleet.pass(step.late);
      for (const target of alive) await fleet.connect(target);
    }
  }
}

/** Brings everything back, and lets all that is still to do end well. */
async function settle(fleet: ScheduledFleet): Promise<void> {
  await fleet.connectAll();
  await fleet.database.updateTable("schedules").set({ next_at: "9999" }).execute();
  for (let round = 0; round < 30; round += 1) {
    await fleet.pass(10, 5);
    for (const target of fleet.nodes) await target.finish("ok");
  }
}

test("dispatcher: over random crashes no occurrence runs twice at once or after it ended well, and none is lost", async () => {
  const crons = ["* * * * *", "*/3 * * * *"];
  await fc.assert(
    fc.asyncProperty(fc.array(action, { minLength: 5, maxLength: 30 }), async (steps) => {
      const fleet = await ScheduledFleet.open(crons);
      try {
        const beganMs = fleet.clock.nowMs();
        await fleet.connectAll();
        const endedWell = new Set<string>();
        for (const step of steps) {
          const before = fleet.started.length;
          await perform(fleet, step);
          for (const { event } of fleet.started.slice(before)) {
            expect(endedWell).not.toContain(event.run.occurrence);
          }
          for (const row of await fleet.rows()) if (row.outcome === "ok") endedWell.add(row.id);
        }
        // One that nothing looked at yet is for the next look.
        await fleet.pass(1);
        const untilMs = fleet.clock.nowMs();
        await settle(fleet);
        expect(fleet.started.filter(({ isElsewhere }) => isElsewhere)).toEqual([]);
        const rows = new Map((await fleet.rows()).map((row) => [row.id, row]));
        for (const [index, cron] of crons.entries()) {
          const times: number[] = [];
          const parsed = parseCron(cron);
          for (let ms = parsed.next(beganMs); ms <= untilMs; ms = parsed.next(ms)) times.push(ms);
          for (const ms of times.slice(-LIMITS.occurrencesKeptMax)) {
            const row = rows.get(`s${index}@${new Date(ms).toISOString()}`);
            expect(fateOf(row), row?.id).toMatch(/^(well|tried as often as allowed|missed)$/);
          }
        }
      } finally {
        await fleet.close();
      }
    }),
    { numRuns: 20 },
  );
}, 120_000);

/** What became of an occurrence, when nothing is to come any more. */
function fateOf(row: Awaited<ReturnType<ScheduledFleet["rows"]>>[number] | undefined): string {
  if (row === undefined) return "lost";
  if (row.state === "missed") return row.attempts === 0 ? "missed" : "missed, but tried";
  if (row.state !== "ended") return row.state;
  if (row.outcome === "ok") return "well";
  return row.attempts === LIMITS.occurrenceAttemptsMax ? "tried as often as allowed" : "given up";
}
