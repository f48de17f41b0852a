import { join } from "node:path";
import { checkInstallation } from "@atoll/control-plane/test-support/installation-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { callApi, ControlPlaneProcess } from "../support/control-plane-process.ts";
import { eventually } from "../support/eventually.ts";
import { readRefusalOf503 } from "../support/refusal.ts";
import { SmallDisk } from "../support/small-disk.ts";

const isPossible = await SmallDisk.isPossible();
const DISK_MIB = 64;

let disk: SmallDisk;
let plane: ControlPlaneProcess;
beforeEach(async () => {
  if (!isPossible) return;
  disk = await SmallDisk.mount(DISK_MIB);
  plane = await ControlPlaneProcess.start({ dataDirectory: join(disk.path, "data") });
  expect((await deploy("before")).status).toBe(200);
});
afterEach(async () => {
  if (!isPossible) return;
  await plane.stop();
  await disk.remove();
});

async function deploy(text: string): Promise<{ readonly status: number; readonly body: string }> {
  const form = new FormData();
  const metadata = { main_module: "index.js", compatibility_date: "2026-06-01" };
  form.set("metadata", JSON.stringify(metadata));
  const source = `export default { fetch: () => new Response(${JSON.stringify(text)}) };`;
  const type = "application/javascript+module";
  form.set("index.js", new Blob([source.padEnd(20_000)], { type }), "index.js");
  const path = `/client/v4/accounts/${plane.account}/workers/scripts/steady`;
  const response = await fetch(`${plane.url}${path}`, {
    method: "PUT",
    headers: { authorization: `Bearer ${plane.token}` },
    body: form,
  });
  return { status: response.status, body: await response.text() };
}

/** How many versions there are; reading goes on whatever becomes of writing. */
async function countVersions(): Promise<number> {
  const result = await callApi(plane, "GET", "/workers/scripts/steady/versions");
  return (result as { readonly items: ReadonlyArray<unknown> }).items.length;
}

async function recoversByItself(): Promise<void> {
  await eventually(async () => (await deploy("after")).status === 200, { what: "deploys go on" });
  expect(await countVersions()).toBe(2);
  expect(await checkInstallation(plane)).toEqual([]);
  await plane.end("SIGKILL");
  await plane.restart();
  expect(await countVersions()).toBe(2);
  expect(await checkInstallation(plane)).toEqual([]);
}

test.skipIf(!isPossible)(
  "control plane: its disk is full, calls that write are refused with the reason, and it goes on by itself",
  async () => {
    await disk.fill();
    for (let attempt = 0; attempt < 5; attempt += 1) {
      const refusal = readRefusalOf503(await deploy("never"));
      expect(refusal.code).toBe(10_002);
      expect(refusal.message).toMatch(/disk|check that the worker starts could not be made/);
      expect(await countVersions()).toBe(1);
    }
    expect(plane.isRunning).toBe(true);
    expect(await plane.log()).toMatch(/ENOSPC|SQLITE_FULL/);
    await disk.clear();
    await recoversByItself();
  },
);

test.skipIf(!isPossible)(
  "control plane: its folder of blobs can't be written, uploads are refused with the reason, and it goes on by itself",
  async () => {
    await disk.failFolder("data/blobs");
    for (let attempt = 0; attempt < 3; attempt += 1) {
      const refusal = readRefusalOf503(await deploy("never"));
      expect(refusal.message).toMatch(/takes no more files \(EROFS\)/);
    }
    expect(await countVersions()).toBe(1);
    // What needs no blob goes on.
    await callApi(plane, "PUT", "/workers/scripts/steady/secrets", {
      ...{ name: "SECRET", text: "hunter2", type: "secret_text" },
    });
    await callApi(plane, "DELETE", "/workers/scripts/steady/secrets/SECRET");
    await disk.mendFolder("data/blobs");
    expect((await deploy("after")).status).toBe(200);
    expect(await countVersions()).toBe(4);
    expect(await checkInstallation(plane)).toEqual([]);
  },
);
