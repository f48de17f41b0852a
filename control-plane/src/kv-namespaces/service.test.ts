import { NamespaceId, type KvOrigin } from "@atoll/kv-store";
import { afterEach, beforeEach, expect, test } from "vitest";
import { VersionId, type Version } from "../contract/index.ts";
import { DeploymentStore } from "../deployments/store.ts";
import { startKvApi, type KvApi } from "../test-support/kv-api.ts";
import { NamespacesService } from "./service.ts";

let api: KvApi;
let namespaces: NamespacesService;
beforeEach(async () => {
  api = await startKvApi();
  namespaces = serviceOver(api.origin);
});
afterEach(() => api.close());

function serviceOver(origin: KvOrigin): NamespacesService {
  return new NamespacesService({ database: api.database, mutations: api.mutations, origin });
}

/** The origin, with some calls replaced: by ones that fail as a process does that is killed there. */
function originWith(calls: Partial<KvOrigin>): KvOrigin {
  return new Proxy(api.origin, {
    get: (origin, name: keyof KvOrigin) => calls[name] ?? origin[name].bind(origin),
  });
}

async function leftovers(): Promise<ReadonlyArray<NamespaceId>> {
  const rows = await api.database.selectFrom("kv_leftovers").select("namespace_id").execute();
  return rows.map((row) => NamespaceId.parse(row.namespace_id));
}

const isAtOrigin = (id: NamespaceId): Promise<boolean> =>
  api.origin.revision(id).then(
    () => true,
    () => false,
  );

test("namespace: a creation that ended after the origin's part is undone at the next start", async () => {
  const killed = new Error("killed");
  const dying = serviceOver(
    originWith({
      createNamespace: async (id) => {
        await api.origin.createNamespace(id);
        throw killed;
      },
    }),
  );
  await expect(dying.create(api.principals.ours, "words")).rejects.toBe(killed);
  const [id] = await leftovers();
  expect(id && (await isAtOrigin(id))).toBe(true);

  await namespaces.removeLeftovers();
  expect(id && (await isAtOrigin(id))).toBe(false);
  expect(await leftovers()).toEqual([]);
  expect((await namespaces.create(api.principals.ours, "words")).title).toBe("words");
});

test("namespace: a deletion that ended before the origin's part is finished at the next start", async () => {
  const { id } = await namespaces.create(api.principals.ours, "words");
  const killed = new Error("killed");
  const dying = serviceOver(originWith({ deleteNamespace: () => Promise.reject(killed) }));
  await expect(dying.remove(api.principals.ours, id)).rejects.toBe(killed);
  await expect(namespaces.get(api.principals.ours, id)).rejects.toMatchObject({
    code: "namespace_not_listed",
  });
  expect(await isAtOrigin(id)).toBe(true);

  await namespaces.removeLeftovers();
  expect(await isAtOrigin(id)).toBe(false);
  expect(await leftovers()).toEqual([]);
});

test("namespace: a creation that a starting control plane took for a crash's gets no row", async () => {
  const overtaken = serviceOver(
    originWith({
      createNamespace: async (id) => {
        await api.origin.createNamespace(id);
        await namespaces.removeLeftovers();
      },
    }),
  );
  await expect(overtaken.create(api.principals.ours, "words")).rejects.toMatchObject({
    code: "conflict",
    retryable: true,
  });
  expect(await api.database.selectFrom("kv_namespaces").selectAll().execute()).toEqual([]);
});

test("namespace: of two creations with one title at once, one fails and leaves nothing", async () => {
  const outcomes = await Promise.allSettled([
    namespaces.create(api.principals.ours, "words"),
    namespaces.create(api.principals.ours, "words"),
  ]);
  expect(outcomes.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
  const failed = outcomes.find((outcome) => outcome.status === "rejected");
  expect(failed?.reason).toMatchObject({ code: "namespace_title_taken" });
  expect(await leftovers()).toEqual([]);
});

test("namespace: the start of a control plane leaves namespaces with a row alone", async () => {
  const { id } = await namespaces.create(api.principals.ours, "words");
  await namespaces.removeLeftovers();
  expect(await isAtOrigin(id)).toBe(true);
});

test("namespace: it can't be deleted while a version that serves binds it", async () => {
  const bound = await namespaces.create(api.principals.ours, "bound");
  const mentioned = await namespaces.create(api.principals.ours, "mentioned");
  await deploy("first", [
    { type: "kv_namespace", name: "KV", namespace_id: bound.id },
    { type: "plain_text", name: "ID", text: mentioned.id },
  ]);

  await expect(namespaces.remove(api.principals.ours, bound.id)).rejects.toMatchObject({
    code: "namespace_bound",
    cloudflareCode: 10_052,
    message: expect.stringContaining("reader"),
  });
  await namespaces.remove(api.principals.ours, mentioned.id);
  expect(await isAtOrigin(bound.id)).toBe(true);

  await deploy("second", []);
  await namespaces.remove(api.principals.ours, bound.id);
  expect(await isAtOrigin(bound.id)).toBe(false);
});

/** Records a version of the worker `reader` as the one that serves. */
async function deploy(name: "first" | "second", bindings: Version["bindings"]): Promise<void> {
  const number = name === "first" ? 1 : 2;
  const id = VersionId.parse(`00000000-0000-4000-8000-00000000000${number}`);
  const createdAt = "2026-11-22T00:00:00.000Z";
  const version: Version = {
    id,
    number,
    createdAt,
    bindings,
    code: { kind: "none" },
    compatibilityDate: "2026-11-01",
    compatibilityFlags: [],
  };
  const worker = {
    id: "worker",
    account_id: api.principals.ours.account,
    name: "reader",
    created_at: createdAt,
    modified_at: createdAt,
    is_on_subdomain: 1,
    has_previews: 0,
    settings: "{}",
    version_number: number,
  };
  const row = { id, worker_id: worker.id, number, created_at: createdAt };
  await api.mutations.run(api.principals.ours, async ({ transaction }) => {
    if (number === 1) await transaction.insertInto("workers").values(worker).execute();
    await transaction
      .insertInto("versions")
      .values({ ...row, document: JSON.stringify(version), notes: "{}" })
      .execute();
    await new DeploymentStore().append(transaction, {
      workerId: worker.id,
      createdAt,
      versions: [{ version_id: id, percentage: 100 }],
      annotations: {},
    });
  });
}
