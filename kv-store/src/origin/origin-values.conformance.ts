import { beforeEach, describe, expect, test } from "vitest";
import { Key, type ContentHash, type KvOperation } from "../entry.ts";
import type { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { NamespaceId } from "../names.ts";
import type { ManualClock } from "../test-support/manual-clock.ts";
import { put, remove, type OriginPlace } from "../test-support/origin-place.ts";
import { useOrigin } from "../test-support/use-origin.ts";
import type { KvOrigin } from "./origin.ts";

const NAMESPACE = NamespaceId.parse("1".repeat(32));
const OTHER = NamespaceId.parse("2".repeat(32));
const [A, B] = ["aa".repeat(32), "bb".repeat(32)] as const;

/** What every origin promises about large values; a part of `describeOrigin`. */
export function describeOriginValues(
  name: string,
  { createPlace }: { readonly createPlace: () => Promise<OriginPlace> },
): void {
  describe(`large values of origin: ${name}`, () => {
    let clock: ManualClock;
    let origin: KvOrigin;
    /** The blob store: what is there. */
    let stored: Set<ContentHash>;

    const { reopen } = useOrigin(createPlace, {
      namespaces: [NAMESPACE, OTHER],
      onOpen: (opened) => ({ clock, origin } = opened),
    });
    beforeEach(() => {
      stored = new Set();
    });

    /** As an upload does. */
    async function store(hash: ContentHash): Promise<void> {
      await origin.claimValue(hash);
      stored.add(hash);
    }

    function large(key: string, hash: ContentHash): KvOperation {
      return { kind: "put", key: Key.parse(key), value: { kind: "blob", hash, size: 70_000 } };
    }

    /** Looks through all of them, as the sweeps of some minutes do; what is then left. */
    /** Resolves when a removal has begun; it ends once `removing` is resolved. */
    async function beginCollecting() {
      const removing = Promise.withResolvers<void>();
      const begun = Promise.withResolvers<void>();
      const collecting = origin.collectValues(async (hash) => {
        begun.resolve();
        await removing.promise;
        stored.delete(hash);
      });
      await begun.promise;
      return { collecting, removing };
    }

    async function collect(): Promise<ReadonlyArray<ContentHash>> {
      // The last call finds the end and begins anew.
      for (let round = 0; round < 3; round += 1) {
        await origin.collectValues(async (hash) => void stored.delete(hash));
      }
      return [...stored].toSorted();
    }

    async function outgrowLog(): Promise<void> {
      clock.advance(LIMITS.logAgeMs + LIMITS.logAgeCheckMs);
      await origin.expire();
    }

    test("what an entry has is kept, however long", async () => {
      await store(A);
      await origin.write(NAMESPACE, [large("k", A)]);
      clock.advance(100 * LIMITS.valueClaimMs);
      await outgrowLog();
      expect(await collect()).toEqual([A]);
    });

    test("what was uploaded and never named goes once its claim is over, and not before", async () => {
      await store(A);
      clock.advance(LIMITS.valueClaimMs - 1);
      expect(await collect()).toEqual([A]);
      clock.advance(1);
      expect(await collect()).toEqual([]);
    });

    test("a claim counts from the last time", async () => {
      await store(A);
      clock.advance(LIMITS.valueClaimMs - 1);
      await store(A);
      clock.advance(LIMITS.valueClaimMs - 1);
      expect(await collect()).toEqual([A]);
    });

    test.each([
      ["deleted", [remove("k")], []],
      ["overwritten by a small one", [put("k", "")], []],
      ["overwritten by another", [large("k", B)], [B]],
    ])(
      "what was %s is kept for as long as the log says so, for nodes that are behind",
      async (_how, writes, left) => {
        await store(A);
        await store(B);
        await origin.write(NAMESPACE, [large("k", A), put("x", "")]);
        await origin.write(NAMESPACE, writes);
        clock.advance(2 * LIMITS.valueClaimMs);
        expect(await collect()).toContain(A);
        await outgrowLog();
        expect(await collect()).toEqual(left);
      },
    );

    test("a value that was put before the log begins and replaced in it is kept", async () => {
      await store(A);
      await origin.write(NAMESPACE, [large("k", A)]);
      await outgrowLog();
      await origin.write(NAMESPACE, [remove("k")]);
      clock.advance(2 * LIMITS.valueClaimMs);
      expect(await collect()).toEqual([A]);
    });

    test("what comes and goes in one write is kept, too: nodes may stop between the two", async () => {
      await store(A);
      await origin.write(NAMESPACE, [large("k", A), remove("k")]);
      clock.advance(2 * LIMITS.valueClaimMs);
      expect(await collect()).toEqual([A]);
    });

    test("the same content under two keys, or in two namespaces, stays until the last is gone", async () => {
      await store(A);
      await origin.write(NAMESPACE, [large("one", A), large("two", A)]);
      await origin.write(OTHER, [large("three", A)]);
      await origin.write(NAMESPACE, [remove("one"), remove("two")]);
      await outgrowLog();
      clock.advance(2 * LIMITS.valueClaimMs);
      expect(await collect()).toEqual([A]);
      await origin.write(OTHER, [remove("three")]);
      await outgrowLog();
      expect(await collect()).toEqual([]);
    });

    test("overwriting a value with itself keeps it", async () => {
      await store(A);
      await origin.write(NAMESPACE, [large("k", A)]);
      await origin.write(NAMESPACE, [large("k", A)]);
      await outgrowLog();
      clock.advance(2 * LIMITS.valueClaimMs);
      expect(await collect()).toEqual([A]);
    });

    test("what expired goes as what was deleted does", async () => {
      await store(A);
      const expiresAt = Math.floor(clock.nowMs() / 1_000) + 60;
      await origin.write(NAMESPACE, [{ ...large("k", A), expiresAt } as KvOperation]);
      clock.advance(2 * LIMITS.valueClaimMs);
      expect(await origin.expire()).toBe(1);
      expect(await collect()).toEqual([A]);
      await outgrowLog();
      expect(await collect()).toEqual([]);
    });

    test("the values of a namespace that was deleted go", async () => {
      await store(A);
      await origin.write(NAMESPACE, [large("k", A)]);
      await origin.deleteNamespace(NAMESPACE);
      clock.advance(2 * LIMITS.valueClaimMs);
      expect(await collect()).toEqual([]);
    });

    test("a write that names what was never claimed is refused whole, and those beside it are not", async () => {
      await store(A);
      const writes = await Promise.allSettled([
        origin.write(NAMESPACE, [large("a", A)]),
        origin.write(NAMESPACE, [put("x", ""), large("b", B)]),
        origin.write(NAMESPACE, [put("y", "")]),
      ]);
      expect(writes).toMatchObject([
        { status: "fulfilled" },
        { reason: { code: "value_unavailable", retryable: true } },
        { status: "fulfilled" },
      ]);
      const { entries } = await origin.list(NAMESPACE, { prefix: "", limit: 10 });
      expect(entries.map(({ key }) => key)).toEqual(["a", "y"]);
    });

    test("a write that comes after its content was collected is refused", async () => {
      await store(A);
      clock.advance(LIMITS.valueClaimMs);
      expect(await collect()).toEqual([]);
      await expect(origin.write(NAMESPACE, [large("k", A)])).rejects.toMatchObject({
        code: "value_unavailable",
      });
      await store(A);
      await origin.write(NAMESPACE, [large("k", A)]);
      clock.advance(LIMITS.valueClaimMs);
      expect(await collect()).toEqual([A]);
    });

    test("while content is being removed nobody can name it, and who claims it waits", async () => {
      await store(A);
      clock.advance(LIMITS.valueClaimMs);
      const { collecting, removing } = await beginCollecting();
      const write = Promise.allSettled([origin.write(NAMESPACE, [large("k", A)])]);
      const upload = store(A);
      removing.resolve();
      expect(await collecting).toBe(1);
      await upload;
      // Whichever of the two came first: what is named is there.
      const [outcome] = await write;
      expect(stored.has(A)).toBe(true);
      const refusal: unknown = outcome?.status === "rejected" ? outcome.reason : undefined;
      expect([undefined, "value_unavailable"]).toContain((refusal as KvError | undefined)?.code);
      await origin.write(NAMESPACE, [large("k", A)]);
      clock.advance(LIMITS.valueClaimMs);
      expect(await collect()).toEqual([A]);
    });

    test("what is claimed while others before it are removed stays", async () => {
      const hashes = Array.from({ length: LIMITS.collectRemovalsMax + 1 }, (_, index) =>
        index.toString(16).padStart(64, "0"),
      );
      for (const hash of hashes) await store(hash);
      clock.advance(LIMITS.valueClaimMs);
      const { collecting, removing } = await beginCollecting();
      const last = hashes.at(-1) ?? A;
      await store(last);
      removing.resolve();
      expect(await collecting).toBe(LIMITS.collectRemovalsMax);
      expect([...stored]).toEqual([last]);
      await origin.write(NAMESPACE, [large("k", last)]);
    });

    test("what could not be removed is looked at again, and can be named meanwhile", async () => {
      await store(A);
      await store(B);
      clock.advance(LIMITS.valueClaimMs);
      const failing = origin.collectValues(() => Promise.reject(new Error("disk is away")));
      await expect(failing).rejects.toThrow();
      await origin.write(NAMESPACE, [large("k", A)]);
      expect(await collect()).toEqual([A]);
    });

    test("what was claimed and not named is found after a restart", async () => {
      await store(A);
      await store(B);
      await origin.write(NAMESPACE, [large("k", A)]);
      await reopen();
      clock.advance(LIMITS.valueClaimMs);
      expect(await collect()).toEqual([A]);
    });

    test("more values than one look takes are all looked through", async () => {
      const hashes = Array.from({ length: LIMITS.collectValuesMax + 5 }, (_, index) =>
        index.toString(16).padStart(64, "0"),
      );
      for (const hash of hashes) await store(hash);
      const last = hashes.at(-1) ?? A;
      await origin.write(NAMESPACE, [large("k", last)]);
      clock.advance(LIMITS.valueClaimMs);
      expect(await collect()).toEqual([last]);
    });
  });
}
