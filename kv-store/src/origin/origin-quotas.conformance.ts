import { beforeEach, describe, expect, test } from "vitest";
import type { Key, KvOperation } from "../entry.ts";
import type { KvErrorCode } from "../errors.ts";
import { NamespaceId } from "../names.ts";
import type { ManualClock } from "../test-support/manual-clock.ts";
import { put, remove, type OriginPlace } from "../test-support/origin-place.ts";
import { useOrigin } from "../test-support/use-origin.ts";
import { Random } from "../replication/simulation/random.ts";
import type { ManagedOrigin } from "./administration.ts";
import { NO_QUOTA, sizeOf, type KvQuota } from "./quota.ts";

const FIRST = NamespaceId.parse("1".repeat(32));
const SECOND = NamespaceId.parse("2".repeat(32));
const THEIRS = NamespaceId.parse("3".repeat(32));
const ACCOUNT = "a".repeat(32);
const OTHER = "b".repeat(32);

/** How every origin holds accounts to what they may have and do; a part of `describeOrigin`. */
export function describeOriginQuotas(
  name: string,
  { createPlace }: { readonly createPlace: () => Promise<OriginPlace> },
): void {
  describe(`quotas of origin: ${name}`, () => {
    let clock: ManualClock;
    let origin: ManagedOrigin;

    const { reopen } = useOrigin(createPlace, {
      namespaces: [FIRST, SECOND, THEIRS],
      onOpen: (opened) => ({ clock, origin } = opened),
    });
    beforeEach(async () => {
      await origin.administration.assign(ACCOUNT, [FIRST, SECOND]);
      await origin.administration.assign(OTHER, [THEIRS]);
    });

    const grant = (quota: Partial<KvQuota>): Promise<void> =>
      origin.administration.setQuota(ACCOUNT, { ...NO_QUOTA, ...quota });

    /** The codes with which writes are refused, all of them made at once. */
    async function refusals(
      ...writes: ReadonlyArray<readonly [NamespaceId, ...KvOperation[]]>
    ): Promise<ReadonlyArray<KvErrorCode | undefined>> {
      const settled = await Promise.allSettled(
        writes.map(([namespace, ...operations]) => origin.write(namespace, operations)),
      );
      return settled.map((each) => (each.status === "fulfilled" ? undefined : each.reason.code));
    }

    test("keys: the last one fits, in all namespaces together, and the next does not", async () => {
      await grant({ keysMax: 3 });
      expect(await refusals([FIRST, put("a", "1")], [SECOND, put("a", "1")])).toEqual([
        ...[undefined, undefined],
      ]);
      expect(await refusals([FIRST, put("b", "1"), put("c", "1")])).toEqual(["storage_exceeded"]);
      expect(await origin.get(FIRST, "b")).toBeUndefined();
      expect(await refusals([FIRST, put("b", "1")])).toEqual([undefined]);
      expect(await refusals([SECOND, put("b", "1")])).toEqual(["storage_exceeded"]);
      // What makes it no more is not refused, and neither is anybody else.
      expect(
        await refusals(
          [FIRST, put("a", "2"), put("a", "3")],
          [SECOND, remove("a"), put("z", "1")],
          [THEIRS, put("a", "1"), put("b", "1"), put("c", "1"), put("d", "1")],
        ),
      ).toEqual([undefined, undefined, undefined]);
      expect(await refusals([SECOND, remove("z")])).toEqual([undefined]);
      expect(await refusals([FIRST, put("new", "1")])).toEqual([undefined]);
    });

    test("keys: of many writers at once exactly as many succeed as fit", async () => {
      await grant({ keysMax: 10 });
      const writes = Array.from({ length: 40 }, (_, index) => {
        const namespace = index % 2 === 0 ? FIRST : SECOND;
        return [namespace, put(`k${index}`, "1")] as const;
      });
      const codes = await refusals(...writes);
      expect(codes.filter((code) => code === undefined)).toHaveLength(10);
      expect(codes.filter((code) => code === "storage_exceeded")).toHaveLength(30);
      expect(await origin.administration.accountUse(ACCOUNT)).toMatchObject({ keys: 10 });
    });

    test("bytes: keys, values and metadata count, large values with all their bytes", async () => {
      const small = put("k", "123") as KvOperation & { kind: "put" };
      const value = { kind: "blob", hash: "ab".repeat(32), size: 70_000 } as const;
      await origin.claimValue(value.hash);
      const large = { kind: "put", key: "l" as Key, value } as const;
      await grant({ bytesMax: sizeOf(small) + sizeOf(large) });
      expect(await refusals([FIRST, small], [SECOND, large])).toEqual([undefined, undefined]);
      expect(await refusals([FIRST, put("k", "1234")])).toEqual(["storage_exceeded"]);
      expect(await refusals([FIRST, put("k", "321")])).toEqual([undefined]);
      expect(await refusals([FIRST, put("k", "1")], [FIRST, put("k", "123")])).toEqual([
        ...[undefined, undefined],
      ]);
      const use = await origin.administration.accountUse(ACCOUNT);
      expect(use).toMatchObject({ keys: 2, bytes: sizeOf(small) + sizeOf(large) });
    });

    test("bytes: who is over the quota can still come back under it", async () => {
      await origin.write(FIRST, [put("a", "12345"), put("b", "12345")]);
      await grant({ bytesMax: 20, keysMax: 1 });
      expect(await refusals([FIRST, put("a", "123456")])).toEqual(["storage_exceeded"]);
      expect(await refusals([FIRST, put("a", "1234")], [FIRST, remove("b")])).toEqual([
        ...[undefined, undefined],
      ]);
    });

    test("rate: as many writes within a second as granted, over all namespaces, and then anew", async () => {
      await grant({ writesPerSecondMax: 3 });
      expect(await refusals([FIRST, put("a", "1"), remove("b")], [SECOND, put("a", "1")])).toEqual([
        undefined,
        undefined,
      ]);
      expect(await refusals([FIRST, put("a", "2")], [THEIRS, put("a", "2")])).toEqual([
        ...["rate_exceeded", undefined],
      ]);
      clock.advance(999);
      expect(await refusals([FIRST, put("a", "2")])).toEqual(["rate_exceeded"]);
      clock.advance(1);
      // One that is too large by itself is refused whenever it comes, and takes nothing from others.
      const four = [put("a", "3"), put("b", "3"), put("c", "3"), put("d", "3")];
      expect(await refusals([FIRST, ...four], [FIRST, ...four.slice(1)])).toEqual([
        ...["rate_exceeded", undefined],
      ]);
    });

    test("rate: as many writes on a day as granted, across a restart, and anew at midnight UTC", async () => {
      await grant({ writesPerDayMax: 2 });
      expect(await refusals([FIRST, put("a", "1")])).toEqual([undefined]);
      clock.advance(2_000);
      await reopen();
      expect(await refusals([FIRST, put("a", "1")])).toEqual([undefined]);
      expect(await origin.administration.accountUse(ACCOUNT)).toMatchObject({ writesToday: 2 });
      expect(await refusals([SECOND, put("a", "1")])).toEqual(["daily_writes_exceeded"]);
      const dayMs = 24 * 60 * 60_000;
      clock.advance(dayMs - (clock.nowMs() % dayMs) - 1);
      expect(await refusals([SECOND, put("a", "1")])).toEqual(["daily_writes_exceeded"]);
      clock.advance(1);
      expect(await origin.administration.accountUse(ACCOUNT)).toMatchObject({ writesToday: 0 });
      expect(await refusals([SECOND, put("a", "1")])).toEqual([undefined]);
    });

    test("rate: a clock that is set back neither resets it nor holds it up for long", async () => {
      await grant({ writesPerSecondMax: 1 });
      expect(await refusals([FIRST, put("a", "1")])).toEqual([undefined]);
      clock.stepWall(-5_000);
      expect(await refusals([FIRST, put("a", "1")])).toEqual(["rate_exceeded"]);
      clock.stepWall(-3_600_000);
      expect(await refusals([FIRST, put("a", "1")])).toEqual([undefined]);
    });

    test("rate: operators' own writes and sweeps are neither counted nor held up", async () => {
      const expiresAt = Math.floor(clock.nowMs() / 1_000) + 60;
      await origin.write(FIRST, [put("a", "1", expiresAt), put("b", "1", expiresAt)]);
      await grant({ writesPerSecondMax: 1, writesPerDayMax: 1, keysMax: 3 });
      const { administration } = origin;
      await administration.rewrite(FIRST, [put("c", "1"), put("c", "2")]);
      await expect(administration.rewrite(FIRST, [put("d", "1")])).rejects.toMatchObject({
        code: "storage_exceeded",
      });
      clock.advance(60_000);
      expect(await origin.expire()).toBe(2);
      expect(await administration.accountUse(ACCOUNT)).toMatchObject({ keys: 1, writesToday: 0 });
      expect(await refusals([FIRST, put("d", "1")], [FIRST, put("d", "2")])).toEqual([
        ...[undefined, "daily_writes_exceeded"],
      ]);
    });

    test("quota: is taken back, changed, and is nobody's before it is granted", async () => {
      await grant({ keysMax: 0 });
      expect(await refusals([FIRST, put("a", "1")])).toEqual(["storage_exceeded"]);
      await grant({ keysMax: 1 });
      expect(await refusals([FIRST, put("a", "1")])).toEqual([undefined]);
      await grant({});
      expect(await refusals([FIRST, put("b", "1")])).toEqual([undefined]);
      await origin.deleteNamespace(FIRST);
      await grant({ keysMax: 1 });
      expect(await refusals([SECOND, put("b", "1")])).toEqual([undefined]);
    });

    test("counts: never drift from what is there, whatever is written, refused, expires or is restarted", async () => {
      const random = new Random(7);
      await grant({ keysMax: 12, bytesMax: 900 });
      for (let round = 0; round < 30; round += 1) {
        const writes = Array.from({ length: 6 }, (): readonly [NamespaceId, ...KvOperation[]] => [
          random.below(2) === 0 ? FIRST : SECOND,
          ...Array.from({ length: 1 + random.below(3) }, () => randomOperation(random, clock)),
        ]);
        await refusals(...writes);
        clock.advance(random.below(30_000));
        if (random.below(4) === 0) await origin.expire();
        if (random.below(8) === 0) {
          await reopen();
        }
        const total = { keys: 0, bytes: 0 };
        for (const namespace of [FIRST, SECOND]) {
          const { entries } = await origin.readEntries(namespace, null);
          const sizes = entries.map((entry) => sizeOf({ kind: "put", ...entry }));
          const bytes = sizes.reduce((sum, size) => sum + size, 0);
          const counted = await origin.administration.describe(namespace);
          expect(counted).toMatchObject({ keys: entries.length, bytes });
          total.keys += entries.length;
          total.bytes += bytes;
        }
        expect(await origin.administration.accountUse(ACCOUNT)).toMatchObject(total);
        expect(total.keys).toBeLessThanOrEqual(12);
        expect(total.bytes).toBeLessThanOrEqual(900);
      }
    });
  });
}

function randomOperation(random: Random, clock: ManualClock): KvOperation {
  const key = `key-${random.below(10)}`;
  if (random.below(3) === 0) return remove(key);
  const expiresAt = Math.floor(clock.nowMs() / 1_000) + 60;
  const text = "x".repeat(random.below(120));
  return random.below(3) === 0 ? put(key, text, expiresAt) : put(key, text);
}
