import { Churn } from "../support/churn.ts";
import { eventually } from "../support/eventually.ts";
import { growth, takeInventory } from "../support/node-inventory.ts";
import type { Benchmark, Outcome } from "./benchmark.ts";
import { startBenchAtoll } from "./fleet.ts";

const PLAN = { region: "fra", workers: 20, pauseMs: 5, seed: 1 } as const;
const REDEPLOYS = 1_000;
const KILLS = 1_000;
// Blobs that nobody needs are removed when no deploy came for half a minute.
const LEFTOVERS_MS = 120_000;

/** Redeploys and killed cells under load, and what is left of them. */
export const churn: Benchmark = {
  name: "churn",
  subject: `${REDEPLOYS} redeploys and ${KILLS} kills of cells at random, under load`,
  run: async (resources): Promise<Outcome> => {
    const atoll = await startBenchAtoll(resources);
    const rehearsal = await Churn.open(atoll, { ...PLAN, redeploys: 5, kills: 5 });
    await rehearsal.run();
    await rehearsal.warmUp();
    const before = await takeInventory(atoll, "fra");
    const turmoil = await Churn.open(atoll, { ...PLAN, redeploys: REDEPLOYS, kills: KILLS });
    const { requests, broken, failures } = await turmoil.run();
    await turmoil.warmUp();
    let left: ReadonlyArray<string> = [];
    const isClean = async (): Promise<boolean> => {
      left = growth(before, await takeInventory(atoll, "fra"));
      return left.length === 0;
    };
    // What is left all the same is told by name.
    await eventually(isClean, { what: "nothing is left", deadlineMs: LEFTOVERS_MS }).catch(
      () => undefined,
    );
    return {
      settings: { redeploys: REDEPLOYS, kills: KILLS, workers: PLAN.workers, seed: PLAN.seed },
      figures: [
        { name: "requests", value: requests, unit: "count" },
        {
          name: "failed, in flight to a cell when it was killed",
          value: broken.length,
          unit: "count",
        },
        { name: "failed, others", value: failures.length, unit: "count", atMost: 0 },
        { name: "kinds of leftovers", value: left.length, unit: "count", atMost: 0 },
      ],
      remarks: [...left, ...failures.slice(0, 5)],
      samples: {},
    };
  },
};
