import { pino } from "pino";
import { NodeName, type ScheduledEnd, type ScheduledEvent } from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import { openSqliteDatabase } from "../database/sqlite-database.ts";
import type { EventLink } from "../schedules/carriers.ts";
import { parseCron } from "../schedules/cron.ts";
import { Dispatcher } from "../schedules/dispatcher.ts";
import { TestClock } from "./test-clock.ts";

const ACCOUNT = "a".repeat(32);
export const NODES = ["fra", "iad", "nrt"] as const;

interface Run {
  readonly event: ScheduledEvent;
  end?: ScheduledEnd;
}

/** A node that runs what it is given until the test says how it ended. */
class ScheduledNode {
  readonly name: NodeName;
  readonly runs = new Map<string, Run>();
  readonly onStart: (event: ScheduledEvent) => void;
  #link: EventLink | undefined;

  constructor(name: string, onStart: (event: ScheduledEvent) => void) {
    this.name = NodeName.parse(name);
    this.onStart = onStart;
  }

  get isConnected(): boolean {
    return this.#link !== undefined;
  }

  async connect(dispatcher: Dispatcher): Promise<void> {
    this.drop();
    const link = dispatcher.connect({
      node: this.name,
      send: (event) => {
        // What goes out on a connection that is gone arrives nowhere.
        if (this.#link !== link) return;
        this.onStart(event);
        this.runs.set(event.run.occurrence, { event });
      },
      acknowledge: ({ occurrence }) => {
        if (this.#link === link) this.runs.delete(occurrence);
      },
      runs: () => true,
    });
    this.#link = link;
    await this.tell();
    for (const { end } of this.runs.values()) if (end !== undefined) await link.ended(end);
  }

  /** As a node does every few seconds. */
  async tell(): Promise<void> {
    await this.#link?.hold([...this.runs.values()].map(({ event }) => event.run));
  }

  async finish(outcome: ScheduledEnd["outcome"], isFinal = false): Promise<void> {
    for (const run of this.runs.values()) {
      run.end ??= { run: run.event.run, outcome, isFinal, wallMs: 5 };
      await this.#link?.ended(run.end);
    }
  }

  drop(): void {
    this.#link?.close();
    this.#link = undefined;
  }

  crash(): void {
    this.drop();
    this.runs.clear();
  }
}

/** A control plane's schedules over a database in memory, with three nodes, all of which tests crash. */
export class ScheduledFleet {
  readonly clock = new TestClock();
  readonly database: Database;
  readonly nodes: ReadonlyArray<ScheduledNode>;
  /** Every event that reached a node, in order, with what the node's peers had of it then. */
  readonly started: Array<{ readonly event: ScheduledEvent; readonly isElsewhere: boolean }> = [];
  #dispatcher: Dispatcher;

  private constructor(database: Database) {
    this.database = database;
    this.#dispatcher = this.#open();
    this.nodes = NODES.map((name) => new ScheduledNode(name, (event) => this.#onStart(event)));
  }

  static async open(crons: ReadonlyArray<string>): Promise<ScheduledFleet> {
    const database = await openSqliteDatabase(":memory:");
    const fleet = new ScheduledFleet(database);
    const at = new Date(fleet.clock.nowMs()).toISOString();
    await database
      .insertInto("accounts")
      .values({ id: ACCOUNT, name: "A", created_at: at })
      .execute();
    await database
      .insertInto("workers")
      .values({
        ...{ id: "w", account_id: ACCOUNT, name: "hello", created_at: at, modified_at: at },
        ...{ is_on_subdomain: 1, has_previews: 0, settings: "{}", version_number: 1 },
      })
      .execute();
    for (const [index, cron] of crons.entries()) {
      const next_at = new Date(parseCron(cron).next(fleet.clock.nowMs())).toISOString();
      const row = { id: `s${index}`, worker_id: "w", cron, created_at: at, next_at };
      await database.insertInto("schedules").values(row).execute();
    }
    return fleet;
  }

  get connected(): ReadonlyArray<ScheduledNode> {
    return this.nodes.filter(({ isConnected }) => isConnected);
  }

  async connectAll(): Promise<void> {
    for (const node of this.nodes) if (!node.isConnected) await this.connect(node);
  }

  async connect(node: ScheduledNode): Promise<void> {
    await node.connect(this.#dispatcher);
  }

  /** Lets time pass as a living control plane and its nodes see it. */
  async pass(seconds: number, stepSeconds = 1): Promise<void> {
    for (let second = 0; second < seconds; second += stepSeconds) {
      this.clock.advanceMs(stepSeconds * 1_000);
      if (second % 5 === 0) for (const node of this.connected) await node.tell();
      await this.#dispatcher.look();
    }
  }

  /** Kills the control plane, and starts one on the same database later. */
  async restartControlPlane(downSeconds: number): Promise<void> {
    for (const node of this.nodes) node.drop();
    await this.#dispatcher.close();
    this.clock.advanceMs(downSeconds * 1_000);
    this.#dispatcher = this.#open();
  }

  /** All occurrences, the oldest first. */
  rows() {
    return this.database.selectFrom("occurrences").selectAll().orderBy("scheduled_at").execute();
  }

  async close(): Promise<void> {
    await this.#dispatcher.close();
    await this.database.destroy();
  }

  #open(): Dispatcher {
    const { database, clock } = this;
    return new Dispatcher({ database, clock, log: pino({ level: "silent" }) });
  }

  #onStart(event: ScheduledEvent): void {
    const isElsewhere = this.nodes.some(({ runs }) => runs.has(event.run.occurrence));
    this.started.push({ event, isElsewhere });
  }
}
