import { setTimeout as wait } from "node:timers/promises";
import { readdir, readFile } from "node:fs/promises";
import { Agent } from "undici";
import type { RegionName, TestAtoll } from "./atoll.ts";
import { eventually } from "./eventually.ts";
import { readStatus } from "./refusal.ts";
import { serveEverywhere } from "./serving.ts";
import { upload } from "./upload.ts";

export interface ChurnPlan {
  readonly region: RegionName;
  readonly workers: number;
  readonly redeploys: number;
  readonly kills: number;
  /** Each worker is asked by one client that waits this long after each answer. */
  readonly pauseMs: number;
  /** Makes the run the same again. */
  readonly seed: number;
}

export interface ChurnReport {
  readonly requests: number;
  /** Failures of requests that a killed cell had in flight when it was killed. */
  readonly broken: ReadonlyArray<string>;
  /** All other failures. */
  readonly failures: ReadonlyArray<string>;
}

/** A cell that may be killed. */
interface Victim {
  readonly worker: string;
  readonly pid: number;
}

/** A kill, from the signal to the end of the process. */
interface Kill {
  readonly worker: string;
  readonly atMs: number;
  readonly goneMs: number;
}

interface Failure {
  readonly worker: string;
  readonly sentMs: number;
  readonly endedMs: number;
  readonly what: string;
}

// A cell that dies a third time within a minute rests before it is started again, and refuses requests:
// that is meant for cells that end by themselves, so no cell is killed so often without a redeploy.
const KILLS_PER_VERSION_MAX = 2;

/** Workers of a node that are asked all the time while they are redeployed and their cells are killed. */
export class Churn {
  readonly #atoll: TestAtoll;
  readonly #plan: ChurnPlan;
  readonly #workers: ReadonlyArray<string>;
  readonly #random: () => number;
  readonly #version = new Map<string, number>();
  readonly #killsOfVersion = new Map<string, number>();
  readonly #killedPids = new Set<number>();
  readonly #kills: Kill[] = [];
  readonly #failures: Failure[] = [];
  #requests = 0;

  private constructor(atoll: TestAtoll, plan: ChurnPlan) {
    this.#atoll = atoll;
    this.#plan = plan;
    this.#workers = Array.from({ length: plan.workers }, (_, index) => `churn-${index}`);
    this.#random = randomFrom(plan.seed);
  }

  /** Deploys the workers; resolves when all are warm everywhere. */
  static async open(atoll: TestAtoll, plan: ChurnPlan): Promise<Churn> {
    const churn = new Churn(atoll, plan);
    for (const worker of churn.#workers) await churn.#redeploy(worker);
    await churn.warmUp();
    return churn;
  }

  /** Resolves when every worker has a warm cell in every region. */
  async warmUp(): Promise<void> {
    for (const worker of this.#workers) {
      await serveEverywhere(this.#atoll, worker, ({ status }) => status === 200);
    }
  }

  async run(): Promise<ChurnReport> {
    const done = new AbortController();
    const clients = this.#workers.map((worker) => this.#ask(worker, done.signal));
    try {
      await this.#change();
    } finally {
      done.abort();
      await Promise.all(clients);
    }
    const isBroken = (failure: Failure): boolean =>
      this.#kills.some(
        ({ worker, atMs }) =>
          worker === failure.worker && failure.sentMs <= atMs && failure.endedMs >= atMs,
      );
    const describe = (failure: Failure): string => this.#describe(failure);
    return {
      requests: this.#requests,
      broken: this.#failures.filter(isBroken).map(describe),
      failures: this.#failures.filter((failure) => !isBroken(failure)).map(describe),
    };
  }

  /** With what happened to the worker shortly before the request was sent. */
  #describe({ worker, sentMs, endedMs, what }: Failure): string {
    const since = (ms: number): number => Math.round(ms - sentMs);
    const kills = this.#kills
      .filter((kill) => kill.worker === worker && Math.abs(sentMs - kill.goneMs) < 1_000)
      .map(({ atMs, goneMs }) => `killed ${since(atMs)} ms, gone ${since(goneMs)} ms`);
    return `${worker}: ${what} (${[...kills, `answered ${since(endedMs)} ms`].join("; ")} after)`;
  }

  async #change(): Promise<void> {
    const { redeploys, kills } = this.#plan;
    const left = { redeploys, kills };
    while (left.redeploys + left.kills > 0) {
      const isKill = this.#random() * (left.redeploys + left.kills) < left.kills && this.#mayKill;
      if (isKill) {
        await this.#killOne();
        left.kills -= 1;
      } else {
        await this.#redeploy(this.#pick(this.#workers));
        // One more than planned where it takes that for the last kills.
        left.redeploys = Math.max(0, left.redeploys - 1);
      }
    }
  }

  /** Whether any version may be killed once more: chance can have used up all of them. */
  get #mayKill(): boolean {
    return this.#workers.some((worker) => this.#killsLeft(worker) > 0);
  }

  /** How often the version of a worker that serves may still be killed; never, of one that is none of ours. */
  #killsLeft(worker: string): number {
    return KILLS_PER_VERSION_MAX - (this.#killsOfVersion.get(worker) ?? KILLS_PER_VERSION_MAX);
  }

  async #redeploy(worker: string): Promise<void> {
    const version = (this.#version.get(worker) ?? 0) + 1;
    // Workers with the same text would share a configuration.
    const source = `export default { fetch: () => new Response("${worker} ${version}") };`;
    const answer = await upload(this.#atoll, { name: worker, source });
    if (answer.status !== 200) throw new Error(`${worker} was refused: ${answer.body}`);
    this.#version.set(worker, version);
    this.#killsOfVersion.set(worker, 0);
  }

  /** Kills a cell that the status of the node names. */
  async #killOne(): Promise<void> {
    const { worker, pid, atMs } = await eventually(() => this.#killVictim(), {
      what: "the status names a cell that may be killed",
    });
    this.#killsOfVersion.set(worker, (this.#killsOfVersion.get(worker) ?? 0) + 1);
    this.#killedPids.add(pid);
    await eventually(async () => !(await isRunning(pid)), { what: `process ${pid} is gone` });
    this.#kills.push({ worker, atMs, goneMs: performance.now() });
  }

  /** Sends the signal; `atMs` is just before. Resolves with nothing when there was nobody to kill. */
  async #killVictim(): Promise<(Victim & { readonly atMs: number }) | undefined> {
    const victim = await this.#findVictim();
    if (victim === undefined) return undefined;
    const atMs = performance.now();
    try {
      process.kill(victim.pid, "SIGKILL");
    } catch (error) {
      // One that drained may end by itself just now.
      if ((error as NodeJS.ErrnoException).code === "ESRCH") return undefined;
      throw error;
    }
    return { ...victim, atMs };
  }

  async #findVictim(): Promise<Victim | undefined> {
    const { nodes } = await readStatus(this.#atoll);
    const cells = nodes.find(({ name }) => name === this.#plan.region)?.cells ?? [];
    const victims = cells.flatMap(({ workers, pid }) => {
      const [worker = ""] = workers;
      if (this.#killsLeft(worker) === 0 || this.#killedPids.has(pid)) return [];
      return [{ worker, pid }];
    });
    if (victims.length === 0) return undefined;
    const victim = this.#pick(victims);
    // The status may be two seconds old.
    return (await isRunning(victim.pid)) ? victim : undefined;
  }

  async #ask(worker: string, end: AbortSignal): Promise<void> {
    // A connection of its own, as a browser has.
    const agent = new Agent({ connections: 1 });
    const { url, port } = this.#atoll.regions[this.#plan.region];
    const headers = { host: `${worker}.localhost:${port}` };
    while (!end.aborted) {
      const sentMs = performance.now();
      const what = await agent
        .request({ origin: url, path: "/", method: "GET", headers })
        .then(async ({ statusCode, body }) => {
          const text = await body.text();
          return statusCode === 200 ? undefined : `${statusCode} ${text.slice(0, 200)}`;
        })
        .catch(String);
      this.#requests += 1;
      const endedMs = performance.now();
      if (what !== undefined) this.#failures.push({ worker, sentMs, endedMs, what });
      await wait(this.#plan.pauseMs);
    }
    await agent.close();
  }

  #pick<Item>(items: ReadonlyArray<Item>): Item {
    const item = items[Math.floor(this.#random() * items.length)];
    if (item === undefined) throw new Error("there is nothing to pick from");
    return item;
  }
}

/** Whether anything of a process runs: its sockets are open until the last of its threads has ended. */
async function isRunning(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  if (stat === undefined) return false;
  const threads = await readdir(`/proc/${pid}/task`).catch(() => []);
  // A zombie holds nothing: it only waits for whoever adopted it.
  return threads.length > 1 || !/\) Z /.test(stat);
}

/** Mulberry32: small, and the same everywhere. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
