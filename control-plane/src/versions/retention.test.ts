import { afterEach, beforeEach, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { ControlPlaneApi, uploadForm } from "../test-support/control-plane-api.ts";

let api: ControlPlaneApi;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
});
afterEach(() => api.close());

async function versionNumbers(): Promise<ReadonlyArray<number>> {
  const rows = await api.controlPlane.database.selectFrom("versions").select("number").execute();
  return rows.map(({ number }) => number).sort((left, right) => left - right);
}

test("retention: old versions go one past the bound, but never one that serves", async () => {
  const served = await api.deploy("hello");
  const record = () => api.call("POST A/workers/scripts/hello/versions", uploadForm({}));
  for (let count = 1; count < LIMITS.versionsKeptMax; count += 1) await record();
  expect((await versionNumbers()).length).toBe(LIMITS.versionsKeptMax);
  await record();
  await record();
  // Version 1 serves; version 2 is the first that nothing needs.
  expect((await versionNumbers()).slice(0, 2)).toEqual([1, 3]);
  const [worker] = (await api.controlPlane.desiredState.snapshot()).workers;
  expect(worker?.versions[0]?.version.id).toBe(served.result.deployment_id);
});

test("retention: the history of deployments is bounded, and so are their versions", async () => {
  for (let count = 0; count < LIMITS.deploymentsKeptMax + 2; count += 1) await api.deploy("hello");
  const rows = await api.countRows();
  expect(rows).toMatchObject({
    deployments: LIMITS.deploymentsKeptMax,
    versions: LIMITS.versionsKeptMax,
  });
});
