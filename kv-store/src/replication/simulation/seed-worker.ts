// A thread of `runSeeds`: takes seeds as messages, answers each with what came of it.
import { parentPort } from "node:worker_threads";
import type { SeedOutcome } from "./seed-run.ts";
import { simulate } from "./simulation.ts";

function outcomeOf(seed: number): SeedOutcome {
  try {
    return { seed, simulatedMs: simulate(seed).simulatedMs };
  } catch (error) {
    const broken = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { seed, simulatedMs: 0, broken };
  }
}

parentPort?.on("message", (seed: number) => parentPort?.postMessage(outcomeOf(seed)));
