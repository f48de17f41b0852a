import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WorkerName, type VersionId } from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import { MasterKeys } from "../secrets/master-keys.ts";
import { SecretSealer } from "../secrets/sealing.ts";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";
import type { StoredVersion } from "../versions/schemas.ts";
import { VersionStore } from "../versions/store.ts";
import { WorkersService } from "./service.ts";

/** Versions that are read only when something else has come before. */
class OvertakenVersions extends VersionStore {
  readonly #overtaking: () => Promise<unknown>;

  constructor(overtaking: () => Promise<unknown>) {
    super(new SecretSealer(MasterKeys.of(new Uint8Array(32))));
    this.#overtaking = overtaking;
  }

  override async latest(
    database: Database | Transaction,
    workerId: string,
  ): Promise<StoredVersion | undefined> {
    await this.#overtaking();
    return super.latest(database, workerId);
  }

  override async getAll(
    database: Database | Transaction,
    ids: ReadonlyArray<VersionId>,
  ): Promise<ReadonlyMap<VersionId, StoredVersion>> {
    await this.#overtaking();
    return super.getAll(database, ids);
  }
}

let api: ControlPlaneApi;
let workers: WorkersService;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
  await api.deploy("stays", {});
  await api.deploy("hello", { bindings: [{ type: "service", name: "S", service: "stays" }] });
  let removal: Promise<unknown> | undefined;
  const { database, mutations } = api.controlPlane;
  const versions = new OvertakenVersions(
    () => (removal ??= api.call("DELETE A/workers/services/hello?force=true")),
  );
  workers = new WorkersService({ database, mutations, versions });
});
afterEach(() => api.close());

function target(name: string) {
  return { principal: api.principal(), name: WorkerName.parse(name) };
}

describe("workers service: one that is removed while it is read ", () => {
  test("is left out of a list", async () => {
    const all = await workers.list(api.principal());
    expect(all.map(({ worker }) => worker.name)).toEqual(["stays"]);
  });

  test("is not found", async () => {
    expect(await workers.find(target("hello"))).toBeUndefined();
  });

  test("calls no other", async () => {
    expect(await workers.callersOf(target("stays"))).toEqual([]);
  });
});
