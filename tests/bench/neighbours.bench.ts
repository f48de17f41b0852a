import { setTimeout as wait } from "node:timers/promises";
import type { TestAtoll } from "../support/atoll.ts";
import { asNewAccount } from "../support/second-account.ts";
import { OFFENDER_SOURCE } from "../support/offender.ts";
import type { Benchmark, Outcome } from "./benchmark.ts";
import { deploy, hostOf, settled, startBenchAtoll, warmUp } from "./fleet.ts";
import { LoadGenerator, type LoadResult } from "./load-generator.ts";
import { median, percentile } from "./statistics.ts";

const NEIGHBOURS = 18;
const OFFENDERS = ["loop", "grow"] as const;
// The load is light: what is measured is what the offenders do to it, and not what cores can take.
const LOAD = { connections: NEIGHBOURS, requestsMax: 1_000_000, durationMs: 30_000, pauseMs: 50 };
const OFFENCE_PAUSE_MS = 20;
// What Atoll promises for the p99 of everybody else, where cores are not exhausted.
const P99_RATIO_MAX = 1.5;

/** Twenty accounts on a node, of which two do their worst. */
export const neighbours: Benchmark = {
  name: "neighbours",
  subject: "18 accounts of a node while one more loops and one takes memory without end",
  run: async (resources): Promise<Outcome> => {
    const atoll = await startBenchAtoll(resources);
    const hosts: string[] = [];
    for (let index = 0; index < NEIGHBOURS; index += 1) {
      hosts.push(await deployTenant(atoll, `neighbour-${index}`));
    }
    for (const offender of OFFENDERS) await deployTenant(atoll, offender);
    await settled(atoll);
    const generator = resources.use(new LoadGenerator());
    const plan = { ...LOAD, url: atoll.regions.fra.url, hosts };
    const quiet = await generator.run(plan);
    const done = new AbortController();
    const offences = OFFENDERS.map((offender) => offend(atoll, offender, done.signal));
    const troubled = await generator.run(plan);
    done.abort();
    const answers = await Promise.all(offences);
    const p99 = ({ latenciesMs }: LoadResult): number => percentile(latenciesMs, 0.99);
    const failures = [...quiet.failures, ...troubled.failures];
    if (failures.length > 0) console.error(`neighbours: the first failure: ${failures[0]}`);
    return {
      settings: { neighbours: NEIGHBOURS, durationMs: LOAD.durationMs, pauseMs: LOAD.pauseMs },
      figures: [
        { name: "quiet: requests", value: quiet.requests, unit: "count" },
        { name: "quiet: p50", value: median(quiet.latenciesMs), unit: "ms" },
        { name: "quiet: p99", value: p99(quiet), unit: "ms" },
        { name: "in trouble: requests", value: troubled.requests, unit: "count" },
        {
          name: "in trouble: failed, at most five counted",
          value: failures.length,
          unit: "count",
          atMost: 0,
        },
        { name: "in trouble: p50", value: median(troubled.latenciesMs), unit: "ms" },
        { name: "in trouble: p99", value: p99(troubled), unit: "ms" },
        {
          name: "in trouble / quiet: p99",
          value: p99(troubled) / p99(quiet),
          unit: "×",
          atMost: P99_RATIO_MAX,
        },
        ...OFFENDERS.map((offender, index) => ({
          name: `answers to who does '${offender}'`,
          value: answers[index] ?? 0,
          unit: "count" as const,
        })),
      ],
      samples: { quiet: quiet.latenciesMs, inTrouble: troubled.latenciesMs },
    };
  },
};

/** Deploys a worker of a new account; resolves with its host when it is warm. */
async function deployTenant(atoll: TestAtoll, name: string): Promise<string> {
  await deploy(await asNewAccount(atoll), { name, source: OFFENDER_SOURCE });
  await warmUp(atoll, name, "fine");
  return hostOf(name);
}

/** Makes a worker exceed its limit again and again; resolves with how often it was answered. */
async function offend(atoll: TestAtoll, name: string, end: AbortSignal): Promise<number> {
  let answers = 0;
  for (; !end.aborted; answers += 1) {
    await atoll.get("fra", hostOf(name), `/${name}`);
    await wait(OFFENCE_PAUSE_MS);
  }
  return answers;
}
