import { Key, NamespaceId, type ManagedOrigin } from "@atoll/kv-store";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";
import { NamespacesService } from "./service.ts";

let api: ControlPlaneApi;
let namespaces: NamespacesService;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
  namespaces = serviceOver(api.origin);
});
afterEach(() => api.close());

function serviceOver(origin: ManagedOrigin): NamespacesService {
  const { database, mutations } = api.controlPlane;
  return new NamespacesService({ database, mutations, origin });
}

/** The origin, with some calls replaced: by ones that fail as a process does that is killed there. */
function originWith(calls: Partial<ManagedOrigin>): ManagedOrigin {
  return new Proxy(api.origin, {
    get: (origin, name: keyof ManagedOrigin) => {
      const own = origin[name];
      return calls[name] ?? (typeof own === "function" ? own.bind(origin) : own);
    },
  });
}

async function leftovers(): Promise<ReadonlyArray<NamespaceId>> {
  const rows = await api.controlPlane.database
    .selectFrom("kv_leftovers")
    .select("namespace_id")
    .execute();
  return rows.map((row) => NamespaceId.parse(row.namespace_id));
}

const isAtOrigin = (id: NamespaceId): Promise<boolean> =>
  api.origin.point(id).then(
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
  await expect(dying.create(api.principal(), "words")).rejects.toBe(killed);
  const [id] = await leftovers();
  expect(id && (await isAtOrigin(id))).toBe(true);

  await namespaces.removeLeftovers();
  expect(id && (await isAtOrigin(id))).toBe(false);
  expect(await leftovers()).toEqual([]);
  expect((await namespaces.create(api.principal(), "words")).title).toBe("words");
});

test("namespace: a deletion that ended before the origin's part is finished at the next start", async () => {
  const { id } = await namespaces.create(api.principal(), "words");
  const killed = new Error("killed");
  const dying = serviceOver(originWith({ deleteNamespace: () => Promise.reject(killed) }));
  await expect(dying.remove(api.principal(), id)).rejects.toBe(killed);
  await expect(namespaces.get(api.principal(), id)).rejects.toMatchObject({
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
  await expect(overtaken.create(api.principal(), "words")).rejects.toMatchObject({
    code: "conflict",
    retryable: true,
  });
  expect(await api.controlPlane.database.selectFrom("kv_namespaces").selectAll().execute()).toEqual(
    [],
  );
});

test("namespace: of two creations with one title at once, one fails and leaves nothing", async () => {
  const outcomes = await Promise.allSettled([
    namespaces.create(api.principal(), "words"),
    namespaces.create(api.principal(), "words"),
  ]);
  expect(outcomes.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
  const failed = outcomes.find((outcome) => outcome.status === "rejected");
  expect(failed?.reason).toMatchObject({ code: "namespace_title_taken" });
  expect(await leftovers()).toEqual([]);
});

test("namespace: the start of a control plane leaves namespaces with a row alone", async () => {
  const { id } = await namespaces.create(api.principal(), "words");
  await namespaces.removeLeftovers();
  expect(await isAtOrigin(id)).toBe(true);
});

test("namespace: a control plane refuses an origin that lacks one, for nodes would drop their copies", async () => {
  const { id } = await namespaces.create(api.principal(), "words");
  await namespaces.create(api.principal(), "more");
  await namespaces.requireAtOrigin();
  // As that of another file or database.
  await api.origin.deleteNamespace(id);
  await expect(namespaces.requireAtOrigin()).rejects.toThrow(
    `1 of 2 KV namespaces are not in this key-value store, such as ${id}`,
  );
  const { account } = api.principal();
  expect(await namespaces.missingAtOrigin()).toEqual([{ id, account }]);
  expect(await namespaces.recreateMissing()).toEqual([{ id, account }]);
  await namespaces.requireAtOrigin();
  expect(await namespaces.recreateMissing()).toEqual([]);
});

test("namespace: the origin counts for whoever has one, also for those that were made before it did", async () => {
  const { account } = api.principal();
  const { id } = await namespaces.create(api.principal(), "words");
  const use = () => api.origin.administration.accountUse(account);
  const write = { kind: "put", value: { kind: "inline", bytes: Buffer.from("1") } } as const;
  await api.origin.write(id, [{ ...write, key: Key.parse("k") }]);
  expect(await use()).toMatchObject({ keys: 1 });
  await api.origin.administration.assign("", [id]);
  expect(await use()).toMatchObject({ keys: 0 });
  await namespaces.assignAll();
  expect(await use()).toMatchObject({ keys: 1 });
});
