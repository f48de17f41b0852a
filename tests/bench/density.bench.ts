import { setTimeout as wait } from "node:timers/promises";
import { eventually } from "../support/eventually.ts";
import { readStatus } from "../support/refusal.ts";
import type { Benchmark, Outcome } from "./benchmark.ts";
import { ask, deployAll, settled, startBenchAtoll } from "./fleet.ts";
import { readCpuMsByProgram } from "./process-cpu.ts";
import { median, percentile } from "./statistics.ts";

const CELLS = 500;
const ASKED_AT_A_TIME = 8;
const IDLE_MS = 10_000;
const BYTES_OF_MB = 1024 * 1024;
// Private memory of a cell that has answered one request.
const CELL_MB_MAX = 12;
// Of the whole node, in the ten seconds: a twentieth of a core.
const IDLE_CPU_MS_MAX = 500;

/** A node with many warm cells that nobody calls. */
export const density: Benchmark = {
  name: "density",
  subject: `${CELLS} warm cells on one node: private memory of each, and CPU while nobody calls`,
  run: async (resources): Promise<Outcome> => {
    const atoll = await startBenchAtoll(resources);
    const workers = Array.from({ length: CELLS }, (_, index) => `dense-${index}`);
    await deployAll(
      atoll,
      workers.map((name) => ({ name, source: sourceOf(name) })),
    );
    await settled(atoll);
    const left = [...workers];
    const askNext = async (): Promise<void> => {
      for (let worker = left.pop(); worker !== undefined; worker = left.pop()) {
        await ask(atoll, "fra", { worker, path: "/" });
      }
    };
    await Promise.all(Array.from({ length: ASKED_AT_A_TIME }, askNext));
    const cells = await eventually(
      async () => {
        const { nodes } = await readStatus(atoll);
        const found = nodes.find(({ name }) => name === "fra")?.cells ?? [];
        return found.length >= CELLS && found;
      },
      { what: `${CELLS} cells are warm` },
    );
    const megabytes = cells.map(({ memoryBytes }) => memoryBytes / BYTES_OF_MB);
    const pid = (await atoll.pids())["fra"] ?? 0;
    const before = await readCpuMsByProgram(pid);
    await wait(IDLE_MS);
    const after = await readCpuMsByProgram(pid);
    const used = (program: string): number =>
      (after.get(program) ?? 0) - (before.get(program) ?? 0);
    const all = [...after.keys()].reduce((sum, program) => sum + used(program), 0);
    return {
      settings: { cells: CELLS, idleMs: IDLE_MS },
      figures: [
        { name: "private memory of a cell, p50", value: median(megabytes), unit: "MB" },
        {
          name: "private memory of a cell, largest",
          value: percentile(megabytes, 1),
          unit: "MB",
          atMost: CELL_MB_MAX,
        },
        { name: `CPU in ${IDLE_MS} ms: all cells`, value: used("workerd"), unit: "ms" },
        { name: `CPU in ${IDLE_MS} ms: the agent`, value: used(""), unit: "ms" },
        { name: `CPU in ${IDLE_MS} ms: HAProxy`, value: used("haproxy"), unit: "ms" },
        {
          name: `CPU in ${IDLE_MS} ms: all together`,
          value: all,
          unit: "ms",
          atMost: IDLE_CPU_MS_MAX,
        },
      ],
      samples: { megabytes },
    };
  },
};

function sourceOf(name: string): string {
  return `export default { fetch: () => new Response("${name}") };`;
}
