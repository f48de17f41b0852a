import { createHash } from "node:crypto";
import {
  encodeMessage,
  fleetKeyFromSeed,
  publicFleetKey,
  signState,
  type DesiredWorker,
} from "@atoll/control-plane/contract";
import { ManualClock } from "@atoll/kv-store/manual-clock";
import { beforeEach, describe, expect, test } from "vitest";
import { sampleModule } from "../config/sample-version.ts";
import { previewTarget } from "../ingress/target-key.ts";
import { LIMITS } from "../limits.ts";
import { PreviewVersions } from "./preview-versions.ts";

const SAMPLE = sampleModule("export default {}");
const WORKER: DesiredWorker = {
  account: SAMPLE.account,
  name: SAMPLE.name,
  versions: [{ version: SAMPLE.version, percentage: 100 }],
  routes: [],
  isScheduled: false,
  tailConsumers: [],
  settings: SAMPLE.settings,
};
const TARGET = previewTarget(SAMPLE.key, "alias");

function keyOf(text: string): string {
  return fleetKeyFromSeed(createHash("sha256").update(text).digest());
}

describe("preview versions: ", () => {
  let clock: ManualClock;
  let asked: string[];
  /** What the control plane would say; it can't be reached when it throws. */
  let answer: (label: string) => unknown;
  let privateKey: string;
  let opened: DesiredWorker[];
  let previews: PreviewVersions;

  beforeEach(() => {
    clock = new ManualClock();
    asked = [];
    opened = [];
    privateKey = keyOf("ours");
    answer = (label) => ({ kind: "preview", label, worker: WORKER });
    previews = new PreviewVersions({
      activator: { activate: async (target) => ({ socketPath: `/cell of ${target}` }) },
      fetchPreview: async (_, label) => {
        asked.push(label);
        const preview = await answer(label);
        if (preview === undefined) return undefined;
        const body = encodeMessage(preview);
        return { body, signature: signState(privateKey, body) };
      },
      fleetKey: publicFleetKey(keyOf("ours")),
      open: async (worker) => {
        opened.push(worker);
        return "opened";
      },
      clock,
    });
  });

  test("finds the version out, and asks again only when an alias may have moved", async () => {
    const all = Array.from({ length: 20 }, () => previews.activate(TARGET));
    expect(await Promise.all(all)).toEqual(all.map(() => ({ socketPath: "/cell of opened" })));
    expect(asked).toEqual(["alias"]);
    expect(opened[0]).toMatchObject({ name: WORKER.name, versions: [{ percentage: 100 }] });
    clock.advance(LIMITS.previewFreshMs - 1);
    await previews.activate(TARGET);
    expect(asked).toHaveLength(1);
    clock.advance(1);
    await previews.activate(TARGET);
    expect(asked).toHaveLength(2);
  });

  test("goes on with what it knows while nobody can be asked", async () => {
    await previews.activate(TARGET);
    answer = () => {
      throw new Error("unreachable");
    };
    clock.advance(LIMITS.previewFreshMs);
    expect(await previews.activate(TARGET)).toEqual({ socketPath: "/cell of opened" });
    const other = previewTarget(SAMPLE.key, "other");
    await expect(previews.activate(other)).rejects.toMatchObject({ code: "preview_unavailable" });
  });

  test("what does not exist is unknown, and what left is so after a moment", async () => {
    await previews.activate(TARGET);
    answer = () => undefined;
    clock.advance(LIMITS.previewFreshMs);
    await expect(previews.activate(TARGET)).rejects.toMatchObject({ code: "preview_unknown" });
    await expect(previews.activate(TARGET)).rejects.toMatchObject({ code: "preview_unknown" });
    expect(asked).toHaveLength(2);
  });

  test("names that can't be one are not asked about", async () => {
    for (const name of ["", "-x", "x_y", "a".repeat(64), "x@y"]) {
      const target = previewTarget(SAMPLE.key, name);
      await expect(previews.activate(target)).rejects.toMatchObject({ code: "preview_unknown" });
    }
    expect(asked).toEqual([]);
  });

  test("what is not signed by the fleet, or is another preview, is not run", async () => {
    const other = { ...WORKER, name: "other" };
    const cases: ReadonlyArray<() => void> = [
      () => (privateKey = keyOf("theirs")),
      () => (answer = (label) => ({ kind: "preview", label, worker: other })),
      () => (answer = () => ({ kind: "preview", label: "another", worker: WORKER })),
      () => (answer = () => ({ kind: "snapshot", revision: 1, workers: [WORKER] })),
    ];
    for (const spoil of cases) {
      privateKey = keyOf("ours");
      spoil();
      await expect(previews.activate(TARGET)).rejects.toMatchObject({
        code: "preview_unavailable",
      });
    }
    expect(opened).toEqual([]);
  });

  test("looks up a bounded number at once, and goes on with what it knows beyond", async () => {
    await previews.activate(TARGET);
    clock.advance(LIMITS.previewFreshMs);
    const { promise, resolve } = Promise.withResolvers<undefined>();
    answer = () => promise;
    const calls = Array.from({ length: LIMITS.previewLookupsMax + 1 }, (_, index) =>
      previews.activate(previewTarget(SAMPLE.key, `p${index}`)),
    );
    const last = calls.at(-1);
    await expect(last).rejects.toMatchObject({ code: "preview_unavailable" });
    expect(await previews.activate(TARGET)).toEqual({ socketPath: "/cell of opened" });
    resolve(undefined);
    const results = await Promise.allSettled(calls.slice(0, -1));
    expect(results.map((each) => each.status)).toEqual(results.map(() => "rejected"));
  });
});
