import { join } from "node:path";
import { NamespaceId } from "@atoll/kv-store";
import { Random } from "@atoll/kv-store/test-support/random";
import { REGIONS, type RegionName, type TestAtoll } from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { accountPath, readStatus } from "../support/refusal.ts";
import { serveEverywhere } from "../support/serving.ts";
import { upload } from "../support/upload.ts";
import { CallSource } from "./calls.ts";
import { checkHistory } from "./check-history.ts";
import { CLIENT_WORKER } from "./client-worker.ts";
import type { Anomaly } from "./history.ts";
import { answerLines, CLIENT_HOST, HistoryClient } from "./history-client.ts";
import { OriginTap } from "./origin-tap.ts";
import { Recorder } from "./recorder.ts";

const CLIENTS_PER_NODE = 4;
const VICTIMS = ["control-plane", ...REGIONS] as const;
type Victim = (typeof VICTIMS)[number];
// A process that was killed often is started again only after 5 s, and then has to start.
const RETURN_MS = 60_000;

export interface HistoryRunOptions {
  readonly atoll: TestAtoll;
  /** Operations that are to be answered. */
  readonly operations: number;
  /** Processes to kill meanwhile: each as often as the others, in an order that follows from the seed. */
  readonly kills: number;
  readonly seed: number;
  readonly onProgress?: (text: string) => void;
}

export interface HistoryReport {
  readonly operations: number;
  readonly reads: number;
  /** Reads that failed, which tell nothing. */
  readonly failedReads: number;
  /** Writes that were acknowledged; each was looked for in the origin's order, and that on every node. */
  readonly acknowledged: number;
  /** Writes of which nobody knows. */
  readonly unknown: number;
  /** Writes that the origin ordered. */
  readonly revisions: number;
  readonly kills: Readonly<Record<Victim, number>>;
  readonly anomalies: ReadonlyArray<Anomaly>;
}

/**
 * Lets clients on every node of a real Atoll read and write the same keys, kills its processes under them,
 * and checks what they were told. Leaves the Atoll running.
 */
export async function runHistory(options: HistoryRunOptions): Promise<HistoryReport> {
  const { atoll, operations, seed } = options;
  const namespace = await deployClients(atoll);
  const recorder = new Recorder();
  const tap = await OriginTap.open({
    path: join(atoll.dataDirectory, "control-plane", "kv.sqlite"),
    namespace,
    tokenOfHash: (hash) => recorder.tokenOfHash(hash),
  });
  try {
    const clients = REGIONS.flatMap((node, place) =>
      Array.from({ length: CLIENTS_PER_NODE }, (_, index) => {
        const session = `${node}-${index}`;
        const random = new Random(seed * 100 + place * CLIENTS_PER_NODE + index);
        const source = new CallSource(session, random);
        return new HistoryClient({ atoll, node, session, source, recorder });
      }),
    );
    const running = clients.map((client) => client.run(operations));
    const { kills, restarts } = await killProcesses(options, { recorder, tap });
    await Promise.all(running);
    const finals = await readFinals({ atoll, tap, namespace });
    const history = { log: tap.writes, operations: recorder.operations, restarts, finals };
    return {
      operations: recorder.answered,
      ...recorder.counts,
      revisions: tap.writes.length,
      kills,
      anomalies: checkHistory(history),
    };
  } finally {
    await tap.close();
  }
}

async function deployClients(atoll: TestAtoll): Promise<NamespaceId> {
  const created = await atoll.api(accountPath(atoll, "/storage/kv/namespaces"), {
    method: "POST",
    body: JSON.stringify({ title: "history" }),
  });
  const { result } = JSON.parse(created.body) as { readonly result: { readonly id: string } };
  const bindings = [{ type: "kv_namespace", name: "KV", namespace_id: result.id }];
  const worker = { name: "history", source: CLIENT_WORKER, metadata: { bindings } };
  const { status, body } = await upload(atoll, worker);
  if (status !== 200) throw new Error(`the clients were refused with ${status}: ${body}`);
  await serveEverywhere(atoll, "history", (answer) => answer.body === "ready");
  return NamespaceId.parse(result.id);
}

/** Kills one process after another, evenly over the run; the next only when the last one is back. */
async function killProcesses(
  { atoll, operations, kills, seed, onProgress }: HistoryRunOptions,
  { recorder, tap }: { readonly recorder: Recorder; readonly tap: OriginTap },
): Promise<{
  readonly kills: HistoryReport["kills"];
  readonly restarts: ReadonlyMap<string, ReadonlyArray<number>>;
}> {
  const random = new Random(seed);
  const restarts = new Map<string, number[]>(REGIONS.map((region) => [region, []]));
  const counts = { "control-plane": 0, iad: 0, fra: 0, nrt: 0 };
  const left: Victim[] = [];
  for (let kill = 1; kill <= kills; kill += 1) {
    await recorder.reached(Math.floor((operations * kill) / (kills + 1)));
    if (left.length === 0) left.push(...VICTIMS);
    const [victim] = left.splice(random.below(left.length), 1);
    if (victim === undefined) break;
    counts[victim] += 1;
    onProgress?.(`${recorder.answered} operations; killing ${victim}`);
    if (victim === "control-plane") await tap.pause();
    restarts.get(victim)?.push(await killAndAwait(atoll, victim));
    tap.resume();
  }
  await recorder.reached(operations);
  return { kills: counts, restarts };
}

/** Resolves, when it serves again, with the moment at which it was started again. */
async function killAndAwait(atoll: TestAtoll, victim: Victim): Promise<number> {
  const pid = (await atoll.pids())[victim] ?? 0;
  process.kill(pid, "SIGKILL");
  await eventually(async () => (await atoll.pids())[victim] !== pid, {
    what: `${victim} is started again`,
    deadlineMs: RETURN_MS,
  });
  const startedMs = Date.now();
  await eventually(() => serves(atoll, victim), {
    what: `${victim} serves again`,
    deadlineMs: RETURN_MS,
  });
  return startedMs;
}

async function serves(atoll: TestAtoll, victim: Victim): Promise<boolean> {
  const answer =
    victim === "control-plane"
      ? await atoll.api(accountPath(atoll, "/storage/kv/namespaces"))
      : await atoll.get(victim, CLIENT_HOST, "/");
  return answer.status === 200;
}

/** What each node holds, when the origin's order has come to its end and each node as well. */
async function readFinals(run: {
  readonly atoll: TestAtoll;
  readonly tap: OriginTap;
  readonly namespace: NamespaceId;
}): Promise<ReadonlyMap<string, ReadonlyMap<string, string>>> {
  const { atoll, tap, namespace } = run;
  return eventually(
    async () => {
      await tap.catchUp();
      const end = tap.writes.length;
      await allAt(atoll, { namespace, revision: end });
      const finals = new Map<string, ReadonlyMap<string, string>>();
      for (const region of REGIONS) finals.set(region, await readState(atoll, region));
      await tap.catchUp();
      // A write without an answer may have come meanwhile: then there is another end.
      return tap.writes.length === end && finals;
    },
    { what: "nothing is written any more", deadlineMs: RETURN_MS },
  );
}

/** Resolves when every node has applied a namespace up to a revision. */
async function allAt(
  atoll: TestAtoll,
  { namespace, revision }: { readonly namespace: NamespaceId; readonly revision: number },
): Promise<void> {
  await eventually(
    async () => {
      const { nodes } = await readStatus(atoll);
      return nodes.every(({ kv }) =>
        kv.some((held) => held.namespace === namespace && held.revision >= revision),
      );
    },
    { what: `every node has applied revision ${revision}`, deadlineMs: RETURN_MS },
  );
}

async function readState(
  atoll: TestAtoll,
  region: RegionName,
): Promise<ReadonlyMap<string, string>> {
  const held = new Map<string, string>();
  for await (const line of answerLines(atoll, region, { path: "/state" })) {
    const [key, token] = line as readonly [string, string]; // as the worker writes it
    held.set(key, token);
  }
  return held;
}
