import { spawn } from "node:child_process";

export interface Step {
  readonly name: string;
  readonly command: string;
  readonly arguments: ReadonlyArray<string>;
}

/** Runs the steps in order, shows each one's time, and stops at the first that fails. */
export async function runSteps(steps: ReadonlyArray<Step>): Promise<void> {
  for (const step of steps) {
    const startedAt = performance.now();
    const code = await run(step);
    const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
    if (code !== 0) {
      console.error(`✘ ${step.name} failed after ${seconds} s (exit code ${code})`);
      process.exit(1);
    }
    console.log(`✔ ${step.name} (${seconds} s)`);
  }
}

function run(step: Step): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(step.command, step.arguments, { stdio: "inherit" });
    child.on("error", reject);
    child.on("exit", (code) => resolve(code ?? 1));
  });
}
