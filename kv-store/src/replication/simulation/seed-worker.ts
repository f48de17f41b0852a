// A thread of `runSeeds`: takes seeds as messages, answers each with what came of it.
import { parentPort } from "node:worker_threads";
import type { SeedOutcome } from "./seed-run.ts";
import { simulate } from "./simulation.ts";

// Errors are a part of what is simulated, and where they come from is of no interest: to know that, a seed is run
// alone. Each would cost as much as dozens of messages.
Error.stackTraceLimit = 0;

function outcomeOf(seed: number): SeedOutcome {
  try {
    return { seed, simulatedMs: simulate(seed).simulatedMs };
  } catch (error) {
    const broken = String(error);
    return { seed, simulatedMs: 0, broken };
  }
}

parentPort?.on("message", (seed: number) => parentPort?.postMessage(outcomeOf(seed)));
