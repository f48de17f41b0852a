import { createRequire } from "node:module";
import { join } from "node:path";
import { LmdbReplica, OriginServer, ReplicaClient, systemClock } from "@atoll/kv-store";
import { channelPair } from "../support/channel-pair.ts";
import { eventually } from "../support/eventually.ts";
import type { Benchmark, Outcome } from "./benchmark.ts";
import {
  fill,
  keyName,
  log,
  NAMESPACE,
  openOrigin,
  temporaryDirectory,
  valueOf,
} from "./kv-place.ts";
import { median } from "./statistics.ts";

const KEYS = 100_000;
const VALUE_BYTES = 1_024;
const ROUNDS = 20;
const READS = 50_000;
const RATIO_MAX = 2;
const US_OF_MS = 1_000;

/** As much of lmdb as is used here, at the version that the replica uses. */
interface BareLmdb {
  open(options: object): {
    put(key: Buffer, value: Buffer): Promise<boolean>;
    get(key: Buffer): Buffer | undefined;
    close(): Promise<void>;
  };
}

/** A read of the replica in process, beside the least that LMDB itself can do. */
export const kvReplica: Benchmark = {
  name: "kv-replica",
  subject: `point read of the replica in process, ${KEYS} keys of ${VALUE_BYTES} bytes, beside bare lmdb`,
  run: async (resources): Promise<Outcome> => {
    const directory = await temporaryDirectory(resources);
    const replica = await filledReplica(resources, directory);
    const bare = await filledLmdb(resources, join(directory, "bare"));
    const names = Array.from({ length: READS }, (_, index) => keyName((index * 7_919) % KEYS));
    const samples = { replica: [] as number[], bare: [] as number[] };
    // The first round compiles code and reads files: it is no sample.
    for (let round = 0; round <= ROUNDS; round += 1) {
      const replicaUs = timeReads(names, (name) => {
        const value = replica.get(NAMESPACE, name)?.value;
        return value?.kind === "inline" ? value.bytes.length : 0;
      });
      // The caller has a string there, too.
      const bareUs = timeReads(names, (name) => bare.get(Buffer.from(name))?.length);
      if (round === 0) continue;
      samples.replica.push(replicaUs);
      samples.bare.push(bareUs);
    }
    const ratios = samples.replica.map((us, round) => us / (samples.bare[round] ?? Number.NaN));
    return {
      settings: { keys: KEYS, valueBytes: VALUE_BYTES, rounds: ROUNDS, readsPerRound: READS },
      figures: [
        { name: "replica, per read, p50", value: median(samples.replica), unit: "µs" },
        { name: "bare lmdb, per read, p50", value: median(samples.bare), unit: "µs" },
        { name: "replica / bare lmdb, p50", value: median(ratios), unit: "×", atMost: RATIO_MAX },
      ],
      samples,
    };
  },
};

async function filledReplica(
  resources: AsyncDisposableStack,
  directory: string,
): Promise<LmdbReplica> {
  const origin = await openOrigin(resources, directory);
  await fill(origin, { keys: KEYS, valueBytes: VALUE_BYTES });
  const blobs = { has: async () => true, remove: async () => {} };
  const server = new OriginServer({ origin, blobs, clock: systemClock, log });
  const place = join(directory, "replica");
  const replica = await LmdbReplica.open({ directory: place, clock: systemClock, log });
  resources.defer(() => replica.close());
  const client = new ReplicaClient({ replica, clock: systemClock, log });
  const channels = channelPair();
  server.accept(channels.origin);
  client.setInterest([NAMESPACE]);
  client.attach(channels.node);
  await eventually(() => replica.revision(NAMESPACE) === KEYS, {
    what: "the replica has all keys",
    deadlineMs: 60_000,
  });
  // Nothing but reads goes on from now on.
  await client.close();
  server.close();
  return replica;
}

async function filledLmdb(
  resources: AsyncDisposableStack,
  path: string,
): Promise<ReturnType<BareLmdb["open"]>> {
  const require = createRequire(import.meta.resolve("@atoll/kv-store"));
  const lmdb = require("lmdb") as BareLmdb;
  const bare = lmdb.open({ path, keyEncoding: "binary", encoding: "binary" });
  resources.defer(() => bare.close());
  const puts = Array.from({ length: KEYS }, (_, index) =>
    bare.put(Buffer.from(keyName(index)), valueOf(index, VALUE_BYTES)),
  );
  await Promise.all(puts);
  return bare;
}

/** Microseconds of each of many reads. */
function timeReads(
  names: ReadonlyArray<string>,
  read: (name: string) => number | undefined,
): number {
  const startedAt = performance.now();
  for (const name of names) {
    if (read(name) !== VALUE_BYTES) throw new Error(`${name} has another value`);
  }
  return ((performance.now() - startedAt) * US_OF_MS) / names.length;
}
