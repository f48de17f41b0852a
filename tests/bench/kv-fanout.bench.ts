import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import type { SqliteOrigin } from "@atoll/kv-store";
import { eventually } from "../support/eventually.ts";
import type { Benchmark, Outcome } from "./benchmark.ts";
import { NAMESPACE, openOrigin, putOf, temporaryDirectory, valueOf } from "./kv-place.ts";
import { ReplicaProcess, serveOrigin, type Visible } from "./replica-processes.ts";
import { median, percentile } from "./statistics.ts";

const REPLICAS = 20;
// Twenty processes would measure how a machine of few cores divides them.
const PROCESSES = 2;
const WRITES_PER_SECOND = 350;
const SECONDS = 12;
// Files grow, and code is compiled: what runs once for each batch only after some seconds, and as all processes do the
// same, in all of them at once. V8's threads then take both of two cores for half a second.
const WARM_SECONDS = 10;
const VALUE_BYTES = 288;
const TICK_MS = 5;
const VISIBLE_MS_MAX = 100;
const NS_OF_MS = 1e6;

/** From the acknowledgement of a write until the last of many replicas shows it. */
export const kvFanout: Benchmark = {
  name: "kv-fanout",
  subject: `acknowledged to visible on ${REPLICAS} replicas, at ${WRITES_PER_SECOND} writes per second`,
  run: async (resources): Promise<Outcome> => {
    const directory = await temporaryDirectory(resources);
    const origin = await openOrigin(resources, directory);
    const url = await serveOrigin(resources, origin);
    const processes = await Promise.all(
      Array.from({ length: PROCESSES }, (_, index) =>
        ReplicaProcess.start(resources, {
          directory: join(directory, `nodes-${index}`),
          url,
          replicas: REPLICAS / PROCESSES,
        }),
      ),
    );
    const acknowledged = await writeSteadily(origin);
    const { revision: end } = await origin.point(NAMESPACE);
    const replicas = await eventually(
      async () => {
        const answers = processes.map((each) => each.ask({ kind: "visible" }));
        const seen = (await Promise.all(answers)).flat();
        return seen.every((batches) => batches.at(-1)?.revision === end) && seen;
      },
      { what: "every replica shows the last write", deadlineMs: 60_000 },
    );
    const ofEach = replicas.flatMap((batches) => delays(acknowledged, batches));
    const perReplica = replicas.map((batches) => delays(acknowledged, batches));
    const ofLast = [...acknowledged].map((_, index) =>
      Math.max(...perReplica.map((ms) => ms[index] ?? Number.NaN)),
    );
    return {
      settings: { replicas: REPLICAS, writesPerSecond: WRITES_PER_SECOND, seconds: SECONDS },
      figures: [
        { name: "writes", value: acknowledged.size, unit: "count" },
        { name: "acknowledged to visible on one, p50", value: median(ofEach), unit: "ms" },
        {
          name: "acknowledged to visible on one, p99",
          value: percentile(ofEach, 0.99),
          unit: "ms",
        },
        {
          name: `acknowledged to visible on all ${REPLICAS}, p99`,
          value: percentile(ofLast, 0.99),
          unit: "ms",
          atMost: VISIBLE_MS_MAX,
        },
      ],
      samples: { ofLast },
    };
  },
};

/** Writes at an even pace; answers when each was acknowledged, by revision, without those of the beginning. */
async function writeSteadily(origin: SqliteOrigin): Promise<ReadonlyMap<number, bigint>> {
  const acknowledged = new Map<number, bigint>();
  const writes: Array<Promise<void>> = [];
  const startedAt = performance.now();
  const warm = WARM_SECONDS * WRITES_PER_SECOND;
  const count = (WARM_SECONDS + SECONDS) * WRITES_PER_SECOND;
  const write = async (number: number): Promise<void> => {
    const put = putOf(`key/${number % 1_000}`, valueOf(number, VALUE_BYTES));
    const revision = await origin.write(NAMESPACE, [put]);
    if (number >= warm) acknowledged.set(revision, process.hrtime.bigint());
  };
  while (writes.length < count) {
    const due = ((performance.now() - startedAt) / 1_000) * WRITES_PER_SECOND;
    while (writes.length < Math.min(due, count)) writes.push(write(writes.length));
    await wait(TICK_MS);
  }
  await Promise.all(writes);
  return new Map([...acknowledged].toSorted(([one], [other]) => one - other));
}

/** Milliseconds from each acknowledgement to the batch with which a replica showed it, none below zero. */
function delays(
  acknowledged: ReadonlyMap<number, bigint>,
  batches: ReadonlyArray<Visible>,
): ReadonlyArray<number> {
  let next = 0;
  return [...acknowledged].map(([revision, atNs]) => {
    while ((batches[next]?.revision ?? Infinity) < revision) next += 1;
    // Nodes may well show a write before its writer has heard of it: then it was there at once.
    return Math.max(0, Number((batches[next]?.atNs ?? 0n) - atNs) / NS_OF_MS);
  });
}
