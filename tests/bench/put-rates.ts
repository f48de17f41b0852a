import { fork } from "node:child_process";
import { once } from "node:events";
import { hold } from "./benchmark.ts";

export interface PutPlan {
  readonly directory: string;
  readonly writers: number;
  readonly rounds: number;
  readonly roundMs: number;
  readonly valueBytes: number;
}

/** Writes per second of each round: of all writers together, and of one of them alone. */
export type PutRates = ReadonlyArray<{ readonly shared: number; readonly single: number }>;

const PROCESS = new URL("./put-process.ts", import.meta.url);

/** Measures an origin in a process of its own, with this in its environment. */
export async function measurePuts(
  resources: AsyncDisposableStack,
  plan: PutPlan,
  environment: Readonly<Record<string, string>> = {},
): Promise<PutRates> {
  const child = await hold(
    resources,
    async () => fork(PROCESS, [JSON.stringify(plan)], { env: { ...process.env, ...environment } }),
    async (started) => void started.kill("SIGKILL"),
  );
  const ended = new AbortController();
  child.once("exit", () => ended.abort(new Error("the process of the writers ended")));
  const [rates] = (await once(child, "message", { signal: ended.signal })) as [PutRates];
  return rates;
}
