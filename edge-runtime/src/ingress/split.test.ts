import { crc32 } from "node:zlib";
import { VersionId } from "@atoll/control-plane/contract";
import { describe, expect, test } from "vitest";
import { worker } from "./conformance/ingress-harness.ts";
import { KEY_COOKIE, POSITIONS, type Split, SplitChooser } from "./split.ts";
import { versionTarget, workerOfTarget } from "./target-key.ts";

const [NEWER, OLDER] = [2, 1].map((digit) =>
  VersionId.parse(`00000000-0000-4000-8000-00000000000${digit}`),
) as [VersionId, VersionId];

function splitWith(percentage: number): Split {
  return {
    worker: worker("test"),
    versions: [
      { id: NEWER, percentage },
      { id: OLDER, percentage: 100 - percentage },
    ],
  };
}

/** How often the newer version was chosen in so many requests. */
function newerOf(chooser: SplitChooser, requests: ReadonlyArray<ReadonlyArray<string>>): number {
  const newer = versionTarget(worker("test"), NEWER);
  return requests.filter((headers) => chooser.choose(headers).target === newer).length;
}

describe("split: ", () => {
  test.each([0, 0.01, 1, 10, 33.3, 50, 90, 99.99, 100])(
    "of 10,000 requests a version with %d percent gets its share, give or take five",
    (percentage) => {
      const requests = Array.from({ length: 10_000 }, () => []);
      const newer = newerOf(new SplitChooser(splitWith(percentage)), requests);
      expect(Math.abs(newer - 100 * percentage)).toBeLessThan(5);
    },
  );

  test("a request in every seven, or every second one, is split like all of them", () => {
    for (const every of [2, 3, 7, 100]) {
      const chooser = new SplitChooser(splitWith(25));
      let newer = 0;
      for (let turn = 0; turn < 10_000; turn += 1) {
        const chosen = newerOf(chooser, [[]]);
        if (turn % every === 0) newer += chosen;
      }
      const asked = Math.ceil(10_000 / every);
      expect(Math.abs(newer / asked - 0.25), `every ${every}`).toBeLessThan(0.05);
    }
  });

  test("10,000 clients with keys of their own are split within a percent", () => {
    for (const percentage of [10, 50]) {
      const keys = Array.from({ length: 10_000 }, (_, index) => [
        "Cloudflare-Workers-Version-Key",
        `client-${index}`,
      ]);
      const newer = newerOf(new SplitChooser(splitWith(percentage)), keys);
      expect(Math.abs(newer - 100 * percentage)).toBeLessThan(100);
    }
  });

  test("whoever got the newer version keeps it while its share grows", () => {
    const requests = Array.from({ length: 500 }, (_, index) => [
      "cookie",
      `a=b; ${KEY_COOKIE}=user-${index}; c=d`,
    ]);
    const choices = (percentage: number): ReadonlyArray<boolean> => {
      const chooser = new SplitChooser(splitWith(percentage));
      return requests.map((headers) => newerOf(chooser, [headers]) === 1);
    };
    const [few, more] = [choices(10), choices(40)];
    expect(few.filter(Boolean).length).toBeGreaterThan(0);
    expect(more.filter(Boolean).length).toBeGreaterThan(few.filter(Boolean).length);
    expect(few.filter((isNewer, index) => isNewer && more[index] !== true)).toEqual([]);
  });

  test("the cookie of the first answer leads back to the same version", () => {
    const chooser = new SplitChooser(splitWith(30));
    for (let turn = 0; turn < 100; turn += 1) {
      const first = chooser.choose(["host", "x"]);
      const cookie = first.setCookie?.split(";")[0] ?? "";
      expect(cookie).toMatch(/=~\d{1,6}$/);
      const again = chooser.choose(["Cookie", `theme=dark; ${cookie}`]);
      expect(again).toEqual({ target: first.target, setCookie: undefined });
    }
  });

  test("the header counts before the cookie, and an empty key is none", () => {
    const chooser = new SplitChooser(splitWith(50));
    const key =
      ["a", "b", "c", "d", "e", "f"].find((each) => crc32(each) % POSITIONS < POSITIONS / 2) ?? "";
    const headers = ["cloudflare-workers-version-key", key, "cookie", `${KEY_COOKIE}=~999999`];
    expect(newerOf(chooser, [headers])).toBe(1);
    expect(newerOf(chooser, [headers.slice(2)])).toBe(0);
    const empty = chooser.choose(["cloudflare-workers-version-key", "", "cookie", KEY_COOKIE]);
    expect(empty.setCookie).toBeDefined();
  });

  test("an override names a deployed version of this worker; any other is ignored", () => {
    const all = new SplitChooser(splitWith(0));
    const overridden = (value: string): string =>
      all.choose(["Cloudflare-Workers-Version-Overrides", value]).target;
    const [newer, older] = [NEWER, OLDER].map((id) => versionTarget(worker("test"), id));
    expect(overridden(`test="${NEWER}"`)).toBe(newer);
    expect(overridden(`other="${OLDER}",  test="${NEWER}"`)).toBe(newer);
    expect(overridden(`test="${NEWER}", test="${OLDER}"`)).toBe(older);
    const ignored = [
      `other="${NEWER}"`,
      `test="${crypto.randomUUID()}"`,
      `test=${NEWER}`,
      `xtest="${NEWER}"`,
      `test="${NEWER}`,
      "",
      "=,=,",
      `"`.repeat(1_000),
    ];
    for (const value of ignored) expect(overridden(value), value).toBe(older);
  });

  test("a target tells its worker", () => {
    expect(workerOfTarget(versionTarget(worker("a"), NEWER))).toBe(worker("a"));
    expect(workerOfTarget(worker("a"))).toBe(worker("a"));
  });
});
