import { readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ControlPlaneApi } from "./control-plane-api.ts";
import { checkInstallation } from "./installation-check.ts";

let api: ControlPlaneApi;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
  const bindings = [{ type: "secret_text", name: "SECRET", text: "hunter2" }];
  expect((await api.deploy("hello", { bindings })).status).toBe(200);
});
afterEach(() => api.close());

function check(): Promise<ReadonlyArray<string>> {
  const { directory: dataDirectory, databaseUrl } = api;
  return checkInstallation({ dataDirectory, databaseUrl });
}

async function blobFile(): Promise<string> {
  const folder = join(api.directory, "blobs");
  const files = await readdir(folder, { recursive: true, withFileTypes: true });
  const file = files.find((entry) => entry.isFile());
  return join(file?.parentPath ?? "", file?.name ?? "");
}

test("check of an installation: finds nothing where nothing is wrong", async () => {
  expect(await check()).toEqual([]);
});

test("check of an installation: finds blobs that are damaged or missing", async () => {
  const file = await blobFile();
  await writeFile(file, "other");
  expect(await check()).toEqual([expect.stringMatching(/^blobs: \w+ is damaged$/)]);
  await rm(file);
  expect(await check()).toEqual([expect.stringMatching(/is named, and not there$/)]);
});

test("check of an installation: finds rows that lack what belongs to them", async () => {
  const { database } = api.controlPlane;
  await database.deleteFrom("version_secrets").execute();
  expect(await check()).toEqual(["secret SECRET of hello is half there"]);
  await database.updateTable("workers").set({ version_number: 7 }).execute();
  await database.deleteFrom("deployments").execute();
  await database.deleteFrom("state_changes").execute();
  await database
    .updateTable("audit")
    .set({ sequence: 9 })
    .where("action", "=", "version.create")
    .execute();
  await api.call("POST A/storage/kv/namespaces", { title: "words" });
  await database.updateTable("audit").set({ sequence: 12 }).where("sequence", "=", 10).execute();
  expect(await check()).toEqual([
    "worker hello counts 7 versions, and has 1",
    "worker hello has no deployment",
    "secret SECRET of hello is half there",
    expect.stringMatching(/^the trail of \w+ has a gap$/),
  ]);
});
