import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { FaultyDisk } from "@atoll/kv-store/test-support/faulty-disk";
import type { Benchmark, Figure, Outcome } from "./benchmark.ts";
import { temporaryDirectory } from "./kv-place.ts";
import { measurePuts, type PutRates } from "./put-rates.ts";
import { median } from "./statistics.ts";

const WRITERS = 64;
const ROUNDS = 10;
const ROUND_MS = 500;
const VALUE_BYTES = 288;
// What group commit has to bring.
const RATIO_MIN = 10;
// What an fsync of a usual SSD takes. The disks of virtual machines often answer from a cache, in a tenth of it:
// there an fsync costs hardly more than the write itself, and sharing it brings as little.
const SLOW_SYNC_MS = 2;

/** Acknowledged writes per second: of many writers, which share commits, and of one, which pays for each. */
export const kvPut: Benchmark = {
  name: "kv-put",
  subject: `acknowledged writes of ${VALUE_BYTES} bytes: ${WRITERS} writers, beside one fsync for each write`,
  run: async (resources): Promise<Outcome> => {
    const directory = await temporaryDirectory(resources);
    const plan = { writers: WRITERS, rounds: ROUNDS, roundMs: ROUND_MS, valueBytes: VALUE_BYTES };
    const [own, slow] = [join(directory, "own"), join(directory, "slow")];
    await Promise.all([own, slow].map((each) => mkdir(each)));
    const onOwn = await measurePuts(resources, { directory: own, ...plan });
    const disk = await slowDisk(resources, { directory, files: slow });
    const onSlow = await measurePuts(resources, { directory: slow, ...plan }, disk.environment);
    const slowName = `made disk, fsync of ${SLOW_SYNC_MS} ms`;
    return {
      settings: { ...plan, slowSyncMs: SLOW_SYNC_MS },
      figures: [...figuresOf("this disk", onOwn), ...figuresOf(slowName, onSlow)],
      remarks: [
        `the made disk: a library in the place of this machine's fsync, which waits ${SLOW_SYNC_MS} ms instead`,
      ],
      samples: { ...samplesOf("this disk", onOwn), ...samplesOf(slowName, onSlow) },
    };
  },
};

/** Files in the directory `files` are on a disk whose fsync takes as long as that of a usual SSD. */
async function slowDisk(
  resources: AsyncDisposableStack,
  place: { readonly directory: string; readonly files: string },
): Promise<FaultyDisk> {
  const disk = await FaultyDisk.create(place);
  resources.defer(() => disk.close());
  await disk.order({ syncMicros: SLOW_SYNC_MS * 1_000 });
  return disk;
}

function figuresOf(disk: string, rates: PutRates): ReadonlyArray<Figure> {
  return [
    {
      name: `put, ${WRITERS} writers, p50; ${disk}`,
      value: median(rates.map(({ shared }) => shared)),
      unit: "requests/s",
    },
    {
      name: `put, one fsync for each, p50; ${disk}`,
      value: median(rates.map(({ single }) => single)),
      unit: "requests/s",
    },
    {
      name: `${WRITERS} writers / one fsync for each, p50; ${disk}`,
      value: median(rates.map(({ shared, single }) => shared / single)),
      unit: "×",
      atLeast: RATIO_MIN,
    },
  ];
}

function samplesOf(disk: string, rates: PutRates): Outcome["samples"] {
  return {
    [`${disk}: ${WRITERS} writers`]: rates.map(({ shared }) => shared),
    [`${disk}: one fsync for each`]: rates.map(({ single }) => single),
  };
}
