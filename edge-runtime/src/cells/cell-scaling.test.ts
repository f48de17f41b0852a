import { Agent, get } from "node:http";
import { systemClock, type Clock } from "@atoll/kv-store";
import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import { afterEach, beforeEach, expect, test } from "vitest";
import { sampleModule } from "../config/sample-version.ts";
import { readStartTicks } from "./process-table.ts";
import { SampleSupervisor } from "./sample-supervisor.ts";

/** Looks come more often than in earnest, so that the test takes less time; shares are measured all the same. */
const LOOK_MS = 250;

let sample: SampleSupervisor;
let load: Load | undefined;

beforeEach(async () => {
  const clock: Clock = {
    ...systemClock,
    every: (_, callback) => {
      const timer = setInterval(callback, LOOK_MS);
      return () => clearInterval(timer);
    },
  };
  // Whatever else this machine does meanwhile.
  sample = await SampleSupervisor.open({ clock, cores: 2, spareCores: () => 1 });
});

afterEach(async () => {
  await load?.stop();
  await sample.close();
});

/** Asks again and again, several at a time. */
class Load {
  readonly outcomes = new Map<string, number>();
  readonly #agent = new Agent({ keepAlive: true });
  readonly #clients: Promise<unknown>;
  #isOver = false;

  constructor(clients: number) {
    this.#clients = Promise.all(Array.from({ length: clients }, () => this.#ask()));
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#clients;
    this.#agent.destroy();
  }

  async #ask(): Promise<void> {
    while (!this.#isOver) {
      const outcome = await new Promise<string>((resolve) => {
        const { port } = new URL(sample.ingress.url);
        const headers = { host: "busy.localhost" };
        get({ port, agent: this.#agent, headers }, (response) => {
          response.resume();
          response.once("end", () => resolve(String(response.statusCode)));
        }).once("error", (error) => resolve(error.message));
      });
      this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
    }
  }
}

/** Each request takes some milliseconds of a processor. */
const SOURCE = `export default { fetch() {
  let sum = 0;
  for (let i = 0; i < 2e7; i += 1) sum += i % 7;
  return new Response(String(sum));
} };`;

function warmPids(): ReadonlyArray<number> {
  const cells = sample.supervisor.status();
  return cells.filter(({ state }) => state === "warm").map(({ pid }) => pid);
}

test("scaling: a worker that fills a core gets a second cell, survives the loss of one, and shrinks again", async () => {
  await sample.run(sampleModule(SOURCE, { name: "busy" }));
  load = new Load(8);
  await waitFor(() => expect(warmPids()).toHaveLength(2));
  // Both work.
  const usedMs = (): ReadonlyArray<number> => sample.supervisor.status().map(({ cpuMs }) => cpuMs);
  const before = usedMs();
  await waitFor(() => {
    const now = usedMs();
    expect(now.map((ms, index) => ms - (before[index] ?? 0) > 200)).toEqual([true, true]);
  });
  expect([...load.outcomes.keys()]).toEqual(["200"]);

  const [first = 0, second = 0] = warmPids();
  process.kill(first, "SIGKILL");
  await waitFor(async () => expect(await readStartTicks(first)).toBeUndefined());
  await waitFor(() => {
    const pids = warmPids();
    expect(pids).toContain(second);
    expect(pids).toHaveLength(2);
  });
  // Only what the killed one had in flight was lost.
  expect(load.outcomes.get("502") ?? 0).toBeLessThanOrEqual(8);
  expect([...load.outcomes.keys()].filter((each) => each !== "200" && each !== "502")).toEqual([]);

  await load.stop();
  await waitFor(() => expect(sample.supervisor.status()).toHaveLength(1));
  expect(warmPids()).toEqual([second]);
  const ends = { killed: 1, surplus: 1 };
  await waitFor(() => expect(sample.supervisor.ends.cellEnds).toMatchObject(ends));
}, 240_000);
