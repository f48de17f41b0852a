import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { StateRevision, WorkerName } from "../contract/index.ts";
import { LIMITS } from "../limits.ts";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";

let api: ControlPlaneApi;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
});
afterEach(() => api.close());

const byName = (left: { readonly name: string }, right: { readonly name: string }): number =>
  left.name < right.name ? -1 : 1;
const at = (revision: number) => StateRevision.parse(revision);

describe("desired state: ", () => {
  test("is empty at revision 0, and every change has one of its own", async () => {
    const { desiredState } = api.controlPlane;
    expect(await desiredState.snapshot()).toEqual({ revision: 0, workers: [] });
    expect(await desiredState.changesSince(at(0))).toEqual({
      revision: 0,
      upserts: [],
      removals: [],
    });
    await api.deploy("one");
    await api.deploy("two", {}, "theirs");
    expect(await desiredState.revision()).toBe(2);
    const { workers } = await desiredState.snapshot();
    expect(workers.map(({ account, name }) => `${account}/${name}`)).toEqual([
      `${api.tenants.ours.account.id}/one`,
      `${api.tenants.theirs.account.id}/two`,
    ]);
  });

  test("a delta holds each changed worker once, as it is now", async () => {
    const { desiredState } = api.controlPlane;
    await api.deploy("one");
    await api.deploy("two");
    await api.deploy("two");
    await api.deploy("three");
    await api.call("DELETE A/workers/services/three");
    const delta = await desiredState.changesSince(at(1));
    expect(delta?.revision).toBe(5);
    expect(delta?.upserts.map(({ name }) => name)).toEqual(["two"]);
    expect(delta?.upserts[0]?.versions[0]?.version.number).toBe(2);
    expect(delta?.removals).toEqual([`${api.tenants.ours.account.id}/three`]);
    expect(await desiredState.changesSince(at(6))).toBeUndefined();
  });

  test("a delta reaches back as far as the outbox, and not one revision further", async () => {
    const { desiredState, database } = api.controlPlane;
    for (const name of ["one", "two", "three"]) await api.deploy(name);
    await database.deleteFrom("state_changes").where("revision", "<=", 1).execute();
    expect(await desiredState.changesSince(at(0))).toBeUndefined();
    expect((await desiredState.changesSince(at(1)))?.upserts).toHaveLength(2);
  });

  test("what changes while a snapshot or a delta is read in pieces is in it, as of its revision", async () => {
    const { desiredState } = api.controlPlane;
    const count = 2 * LIMITS.statePieceWorkers + 5;
    const names = Array.from({ length: count }, (_, index) => `worker-${1_000 + index}`);
    for (const name of names) await api.deploy(name);
    const first = names[0] ?? "";
    const changing = async (): Promise<void> => {
      // What was read already changes, what is still to be read goes, and something new comes.
      await api.deploy(first);
      await api.call(`DELETE A/workers/services/${names.at(-1)}`);
      await api.deploy("worker-0");
    };
    const [snapshot] = await Promise.all([desiredState.snapshot(), changing()]);
    const from = snapshot.revision;
    const [delta] = await Promise.all([desiredState.changesSince(at(0)), changing()]);
    for (const [revision, found] of [
      [from, snapshot.workers],
      [delta?.revision, delta?.upserts],
    ] as const) {
      const versions = found?.find(({ name }) => name === first)?.versions;
      // The first worker's deploy, the removal, and the new one, as far as the revision has come.
      const changes = Number(revision) - count;
      expect(versions?.[0]?.version.number).toBe(1 + Math.ceil(changes / 3));
      expect(new Set(found?.map(({ name }) => name)).size).toBe(found?.length);
    }
    const now = await desiredState.snapshot();
    expect(now.workers.map(({ name }) => name).toSorted()).toEqual(
      ["worker-0", ...names.slice(0, -1)].toSorted(),
    );
    const missed = await desiredState.changesSince(from);
    const led = new Map(snapshot.workers.map((worker) => [worker.name, worker]));
    for (const key of missed?.removals ?? []) led.delete(WorkerName.parse(key.split("/")[1]));
    for (const worker of missed?.upserts ?? []) led.set(worker.name, worker);
    expect([...led.values()].toSorted(byName)).toEqual(now.workers.toSorted(byName));
  }, 60_000);

  test("the outbox is cut to its bound", async () => {
    const { mutations, database } = api.controlPlane;
    const worker = WorkerName.parse("hello");
    const batch = LIMITS.stateChangesMax + 5;
    await mutations.run(api.principal(), async (mutation) => {
      for (let index = 0; index < batch; index += 1) await mutation.changed(worker);
      await mutation.audit({ action: "test", subject: worker });
    });
    const rows = await database.selectFrom("state_changes").select("revision").execute();
    expect(rows).toHaveLength(LIMITS.stateChangesMax);
    expect(Math.max(...rows.map(({ revision }) => revision))).toBe(batch);
  });

  test("a mutation that fails takes no revision, and nobody is told of it", async () => {
    const { desiredState, mutations } = api.controlPlane;
    const before = await api.countRows();
    let calls = 0;
    const stop = desiredState.onChange(() => {
      calls += 1;
    });
    const failing = mutations.run(api.principal(), async (mutation) => {
      await mutation.changed(WorkerName.parse("hello"));
      await mutation.audit({ action: "test", subject: "hello" });
      throw new Error("changed its mind");
    });
    await expect(failing).rejects.toThrow("changed its mind");
    expect({ calls, revision: await desiredState.revision() }).toEqual({ calls: 0, revision: 0 });
    expect(await api.countRows()).toEqual(before);
    await api.deploy("hello");
    expect(calls).toBe(1);
    stop();
    await api.deploy("hello");
    expect(calls).toBe(1);
  });

  test("a change for nodes that is not in the audit trail is none", async () => {
    const { mutations } = api.controlPlane;
    const before = await api.countRows();
    const secret = mutations.run(api.principal(), (mutation) =>
      mutation.changed(WorkerName.parse("hello")),
    );
    await expect(secret).rejects.toThrow("what nodes are told of is in the audit trail");
    expect(await api.countRows()).toEqual(before);
  });

  test("whoever is told of a change reads it already", async () => {
    const { desiredState } = api.controlPlane;
    const seen: Array<Promise<number>> = [];
    const stop = desiredState.onChange(() => seen.push(desiredState.revision()));
    await Promise.all([api.deploy("one"), api.deploy("two"), api.deploy("three")]);
    stop();
    const revisions = await Promise.all(seen);
    expect(revisions).toHaveLength(3);
    expect(revisions.at(-1)).toBe(3);
  });

  test("every mutation is in the audit trail with its token, and no secret is", async () => {
    await api.deploy("hello", { bindings: [{ type: "secret_text", name: "A", text: "needle" }] });
    const secret = { name: "B", text: "needle", type: "secret_text" };
    await api.call("PUT A/workers/scripts/hello/secrets", secret);
    await api.call("DELETE A/workers/services/hello");
    const all = await api.controlPlane.database.selectFrom("audit").selectAll().execute();
    const rows = all.filter(({ token_id }) => token_id !== "operator");
    expect(rows.map(({ action, subject }) => `${action} ${subject}`).sort()).toEqual([
      "version.create hello",
      "version.create hello",
      "worker.delete hello",
    ]);
    const tokenId = api.tenants.ours.token.split("_")[1];
    expect(new Set(rows.map((row) => row.token_id))).toEqual(new Set([tokenId]));
    expect(JSON.stringify(rows)).not.toContain("needle");
  });
});
