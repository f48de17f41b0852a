import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { EVERYDAY_INGRESSES, IS_THOROUGH, startAtoll, type TestAtoll } from "../support/atoll.ts";
import { Churn } from "../support/churn.ts";
import { eventually } from "../support/eventually.ts";
import { growth, settledInventory, takeInventory } from "../support/node-inventory.ts";

const SEED = 7;
const CHANGES = IS_THOROUGH ? { redeploys: 20, kills: 20 } : { redeploys: 10, kills: 10 };
// Blobs that nobody needs are removed when no deploy came for half a minute.
const LEFTOVERS_MS = 90_000;

describe.each(EVERYDAY_INGRESSES)("churn: behind the %s ingress", (ingress) => {
  let atoll: TestAtoll;
  beforeAll(async () => {
    atoll = await startAtoll({ environment: { ATOLL_INGRESS: ingress } });
  });
  afterAll(() => atoll.stop());

  test("redeploys and killed cells fail no request but the killed cells' own, and leave nothing", async () => {
    const plan = { region: "fra", workers: 6, pauseMs: 5, seed: SEED } as const;
    const rehearsal = await Churn.open(atoll, { ...plan, redeploys: 2, kills: 2 });
    // What is opened once and kept is open after this.
    await rehearsal.run();
    await rehearsal.warmUp();
    const before = await settledInventory(atoll, "fra");
    const churn = await Churn.open(atoll, { ...plan, ...CHANGES });
    const { requests, failures } = await churn.run();
    expect(failures).toEqual([]);
    expect(requests).toBeGreaterThan(250);
    await churn.warmUp();
    let left: ReadonlyArray<string> = [];
    await eventually(
      async () => {
        left = growth(before, await takeInventory(atoll, "fra"));
        return left.length === 0;
      },
      { what: "nothing is left behind", deadlineMs: LEFTOVERS_MS },
    ).catch(() => undefined);
    expect(left).toEqual([]);
  }, 240_000);
});
