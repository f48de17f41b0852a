// A thread of `runSeeds`: takes seeds as messages, answers each with what came of it.
import { parentPort } from "node:worker_threads";
import type { SeedOutcome } from "./seed-run.ts";
import { simulate } from "./simulation.ts";

// Errors are a part of what is simulated, and where they come from is of no interest: to know that, a seed is run
// alone. Each would cost as much as dozens of messages.
Error.stackTraceLimit = 0;

function outcomeOf(seed: number): SeedOutcome {
  const before = process.threadCpuUsage();
  try {
    const { simulatedMs, commits, reads, faults } = simulate(seed);
    const { user, system } = process.threadCpuUsage(before);
    const processorMs = (user + system) / 1_000;
    return { seed, simulatedMs, processorMs, happened: commits + reads + faults };
  } catch (error) {
    return { seed, simulatedMs: 0, processorMs: 0, happened: 0, broken: String(error) };
  }
}

parentPort?.on("message", (seed: number) => parentPort?.postMessage(outcomeOf(seed)));
