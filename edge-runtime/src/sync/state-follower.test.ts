import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  DesiredWorker,
  encodeMessage,
  fleetKeyFromSeed,
  publicFleetKey,
  signState,
  type WorkerFailure,
} from "@atoll/control-plane/contract";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { StateFollower } from "./state-follower.ts";
import { StateStore } from "./state-store.ts";

const ACCOUNT = "0".repeat(32);
const FLEET_KEY = fleetKeyFromSeed(randomBytes(32));

function worker(name: string, number = 1): DesiredWorker {
  return DesiredWorker.parse({
    account: ACCOUNT,
    name,
    routes: [`${name}.localhost/*`],
    versions: [
      {
        percentage: 100,
        version: {
          id: "00000000-0000-4000-8000-000000000000",
          number,
          createdAt: "2026-11-01T00:00:00Z",
          code: { kind: "none" },
          compatibilityDate: "2026-01-01",
          compatibilityFlags: [],
          bindings: [],
        },
      },
    ],
  });
}

function signed(change: unknown, key = FLEET_KEY): { body: Uint8Array; signature: Uint8Array } {
  const body = encodeMessage(change);
  return { body, signature: signState(key, body) };
}

function snapshot(revision: number, ...workers: DesiredWorker[]): unknown {
  return { kind: "snapshot", revision, workers };
}

function delta(revisions: [number, number], upserts: DesiredWorker[], removals: string[]): unknown {
  const [from, revision] = revisions;
  return { kind: "delta", from, revision, upserts, removals };
}

describe("state follower", () => {
  let directory: string;
  let ran: string[][];
  let failing: Set<string>;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "atoll-state-"));
    ran = [];
    failing = new Set();
  });
  afterEach(() => rm(directory, { recursive: true }));

  function open(): StateFollower {
    const log = pino({ level: "silent" });
    return new StateFollower({
      store: new StateStore({ directory, log }),
      fleetKey: publicFleetKey(FLEET_KEY),
      log,
      run: async (workers): Promise<ReadonlyArray<WorkerFailure>> => {
        ran.push(workers.map(({ name, versions }) => `${name}@${versions[0]?.version.number}`));
        return workers
          .filter(({ name }) => failing.has(name))
          .map(({ account, name }) => ({
            worker: `${account}/${name}`,
            version: "v",
            reason: "does not start",
          }));
      },
    });
  }

  test("applies a snapshot and the deltas that follow it", async () => {
    const follower = open();
    await follower.receive(signed(snapshot(3, worker("a"), worker("b"))));
    const outcome = await follower.receive(
      signed(delta([3, 4], [worker("a", 2), worker("c")], [`${ACCOUNT}/b`])),
    );
    expect(outcome).toEqual({ kind: "applied", revision: 4, failures: [] });
    expect(ran).toEqual([
      ["a@1", "b@1"],
      ["a@2", "c@1"],
    ]);
  });

  test("serves what it ran last after a restart, before anybody is asked", async () => {
    await open().receive(signed(snapshot(3, worker("a"))));
    ran = [];
    const restarted = open();
    await restarted.restore();
    expect(ran).toEqual([["a@1"]]);
    expect(restarted.revision).toBe(3);
  });

  test("never applies older over newer, and acknowledges what it has already", async () => {
    const follower = open();
    await follower.receive(signed(snapshot(3, worker("a", 2))));
    expect(await follower.receive(signed(snapshot(2, worker("a", 1))))).toMatchObject({
      kind: "refused",
      reason: expect.stringContaining("revision 2 is older than 3"),
    });
    expect(await follower.receive(signed(snapshot(3, worker("a", 9))))).toMatchObject({
      kind: "applied",
    });
    expect(ran).toEqual([["a@2"]]);
  });

  test("asks again when a delta does not follow what it has", async () => {
    const follower = open();
    await follower.receive(signed(snapshot(3, worker("a"))));
    expect(await follower.receive(signed(delta([4, 5], [worker("b")], [])))).toEqual({
      kind: "gap",
    });
    expect(follower.revision).toBe(3);
  });

  test("refuses garbage, a stranger's signature and a changed body, and keeps what runs", async () => {
    const follower = open();
    await follower.receive(signed(snapshot(3, worker("a"))));
    const stranger = signed(snapshot(9, worker("evil")), fleetKeyFromSeed(randomBytes(32)));
    const changed = signed(snapshot(9, worker("evil")));
    changed.body[changed.body.length - 1] = 0;
    for (const bad of [
      stranger,
      changed,
      { body: randomBytes(40), signature: randomBytes(64) },
      signed({ kind: "snapshot", revision: "many", workers: [] }),
      signed("nonsense"),
    ]) {
      expect(await follower.receive(bad)).toMatchObject({ kind: "refused", revision: 3 });
    }
    expect(ran).toHaveLength(1);
  });

  test("keeps a worker that fails as it was, lets the others through, and tries again", async () => {
    const follower = open();
    await follower.receive(signed(snapshot(1, worker("a"), worker("b"))));
    failing.add("a");
    const outcome = await follower.receive(
      signed(delta([1, 2], [worker("a", 2), worker("b", 2)], [])),
    );
    expect(outcome).toMatchObject({ kind: "applied", failures: [{ worker: `${ACCOUNT}/a` }] });

    ran = [];
    const restarted = open();
    await restarted.restore();
    expect(ran.map((workers) => workers.toSorted())).toEqual([
      ["a@1", "b@2"],
      ["a@2", "b@2"],
    ]);

    failing.clear();
    await follower.receive(signed(delta([2, 3], [], [])));
    expect(ran.at(-1)?.sort()).toEqual(["a@2", "b@2"]);
  });

  test("tries what failed again when it is asked to, and says the same of it until it runs", async () => {
    const follower = open();
    expect(await follower.retryFailed()).toBeUndefined();
    failing.add("a");
    const [failed, alike, again] = [
      await follower.receive(signed(snapshot(1, worker("a"), worker("b")))),
      await follower.receive(signed(snapshot(1, worker("a"), worker("b")))),
      await follower.retryFailed(),
    ];
    expect(failed).toMatchObject({ revision: 1, failures: [{ worker: `${ACCOUNT}/a` }] });
    expect(alike).toEqual(failed);
    expect(again).toEqual(failed);
    failing.clear();
    expect(await follower.retryFailed()).toEqual({ kind: "applied", revision: 1, failures: [] });
    const count = ran.length;
    expect(await follower.retryFailed()).toBeUndefined();
    expect(ran).toHaveLength(count);

    const restarted = open();
    await restarted.restore();
    expect(ran.at(-1)?.sort()).toEqual(["a@1", "b@1"]);
  });

  test("takes nothing back that runs and can't be saved, and saves it when that is possible", async () => {
    const follower = open();
    failing.add("a");
    await follower.receive(signed(snapshot(1, worker("a"), worker("b"))));
    const saved = join(directory, "state.bin");
    await rename(saved, `${saved}.kept`);
    // Nothing can be renamed to its name.
    await mkdir(join(saved, "full"), { recursive: true });
    const change = signed(delta([1, 2], [worker("b", 2)], []));
    await expect(follower.receive(change)).rejects.toThrow();
    ran = [];
    await expect(follower.retryFailed()).rejects.toThrow();
    expect(follower.revision).toBe(1);
    await rm(saved, { recursive: true });
    expect(await follower.retryFailed()).toMatchObject({ kind: "applied", revision: 2 });
    expect(ran.map((workers) => workers.toSorted())).toEqual([
      ["a@1", "b@2"],
      ["a@1", "b@2"],
    ]);
    expect(await follower.receive(change)).toMatchObject({ kind: "applied", revision: 2 });
    const restarted = open();
    await restarted.restore();
    expect(restarted.revision).toBe(2);
  });

  test("sets a damaged state file aside and starts empty", async () => {
    await open().receive(signed(snapshot(3, worker("a"))));
    const file = join(directory, "state.bin");
    const bytes = await readFile(file);
    bytes[40] = (bytes[40] ?? 0) ^ 1;
    await writeFile(file, bytes);
    const restarted = open();
    await restarted.restore();
    expect(restarted.revision).toBe(0);
    expect(await readFile(`${file}.damaged`)).toEqual(bytes);
  });
});
