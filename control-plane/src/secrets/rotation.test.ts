import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";
import { openInstallationKeys } from "./installation-keys.ts";
import { MASTER_KEY_FILE, MasterKeys } from "./master-keys.ts";
import { openMasterKeyRotation } from "./open-master-key-rotation.ts";
import { Rewrapping } from "./rewrapping.ts";

let api: ControlPlaneApi;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
});
afterEach(() => api.close());

const openRotation = (masterKey?: string) =>
  openMasterKeyRotation({
    dataDirectory: api.directory,
    databaseUrl: api.databaseUrl,
    masterKey,
  });

async function rotate() {
  const rotation = await openRotation();
  try {
    return { ...(await rotation.rotate()), ...(await rotation.status()) };
  } finally {
    await rotation.close();
  }
}

async function serving(): Promise<unknown> {
  const { workers } = await api.controlPlane.desiredState.snapshot();
  return workers.map(({ versions }) => versions[0]?.secrets);
}

function deploy(name: string, text: string) {
  return api.deploy(name, { bindings: [{ type: "secret_text", name: "KEY", text }] });
}

describe("replacing the master key: ", () => {
  test("a running control plane serves old secrets and takes new ones, at every step", async () => {
    await deploy("first", "one");
    const rotation = await openRotation();
    const before = await rotation.status();
    expect(before.ids).toHaveLength(1);
    const { kind, records, currentId } = await rotation.rotate();
    // One secret, and two keys of the installation.
    expect({ kind, records }).toEqual({ kind: "rotated", records: 3 });
    expect(currentId).not.toBe(before.ids[0]);
    expect(await serving()).toEqual([{ KEY: "one" }]);
    await deploy("second", "two");
    expect(await serving()).toEqual([{ KEY: "one" }, { KEY: "two" }]);
    const after = await rotation.status();
    expect(after.ids).toEqual([currentId, before.ids[0]]);
    expect([...after.use]).toEqual([[currentId, 4]]);
    await rotation.close();
  });

  test("a second rotation drops the key that no record needs", async () => {
    await deploy("first", "one");
    const first = await rotate();
    const second = await rotate();
    expect(second.ids).toEqual([second.currentId, first.currentId]);
    expect(await serving()).toEqual([{ KEY: "one" }]);
  });

  test("one that was interrupted is finished by the next, with no further key", async () => {
    await deploy("first", "one");
    const file = join(api.directory, MASTER_KEY_FILE);
    const keys = await MasterKeys.load({ file, fromEnvironment: undefined });
    const earlier = keys.current.id;
    // As far as the process came before it was killed: the new key is there, no record is under it.
    await keys.addKey();
    await deploy("second", "two");
    expect(await serving()).toEqual([{ KEY: "one" }, { KEY: "two" }]);
    expect(await rotate()).toMatchObject({
      kind: "finished",
      records: 3,
      ids: [keys.current.id, earlier],
    });
    expect(await serving()).toEqual([{ KEY: "one" }, { KEY: "two" }]);
  });

  test("keys that nodes know the fleet by, and tokens of uploads, stay", async () => {
    const { database } = api.controlPlane;
    const file = join(api.directory, MASTER_KEY_FILE);
    const open = async () =>
      openInstallationKeys(database, await MasterKeys.load({ file, fromEnvironment: undefined }));
    const before = await open();
    await rotate();
    await rotate();
    expect(await open()).toEqual(before);
  });

  test("keys of the environment: everything comes under the first, and no file is written", async () => {
    await deploy("first", "one");
    const earlier = (await readFile(join(api.directory, MASTER_KEY_FILE), "utf8")).trim();
    const later = "ab".repeat(32);
    const rotation = await openRotation(`${later},${earlier}`);
    expect(await rotation.rotate()).toMatchObject({ kind: "finished", records: 3 });
    expect(await rotation.rotate()).toMatchObject({ kind: "finished", records: 0 });
    await rotation.close();
    const file = join(api.directory, MASTER_KEY_FILE);
    expect((await readFile(file, "utf8")).trim()).toBe(earlier);
  });

  test("another master key is refused, and two rotations at once are, too", async () => {
    await deploy("first", "one");
    const stranger = await openRotation("ab".repeat(32));
    await expect(stranger.rotate()).rejects.toMatchObject({ code: "secret_unreadable" });
    await stranger.close();
    const { database } = api.controlPlane;
    const opening = openInstallationKeys(database, MasterKeys.of(new Uint8Array(32)));
    await expect(opening).rejects.toMatchObject({ code: "secret_unreadable" });

    const [first, second] = [await openRotation(), await openRotation()];
    const results = await Promise.allSettled([first.rotate(), second.rotate()]);
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
    await Promise.all([first.close(), second.close()]);
    expect(await serving()).toEqual([{ KEY: "one" }]);
  });

  test("a secret that goes while it is brought under the new key stays gone", async () => {
    await deploy("first", "one");
    const { database } = api.controlPlane;
    const file = join(api.directory, MASTER_KEY_FILE);
    const keys = await MasterKeys.load({ file, fromEnvironment: undefined });
    await keys.addKey();
    const running = new Rewrapping({ database, keys }).run();
    await database.deleteFrom("version_secrets").execute();
    await running;
    expect((await database.selectFrom("version_secrets").selectAll().execute()).length).toBe(0);
  });
});
