import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { ControlPlaneApi, type Answer } from "../test-support/control-plane-api.ts";
import type { AuditRecord } from "./schemas.ts";
import { AuditStore, FLEET } from "./store.ts";

let api: ControlPlaneApi;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
});
afterEach(() => api.close());

async function trail(query = ""): Promise<ReadonlyArray<AuditRecord>> {
  return (await api.call(`GET A/audit${query}`)).result as ReadonlyArray<AuditRecord>;
}

/** Makes a namespace and renames it so many times. */
async function rename(times: number): Promise<void> {
  const { result } = await api.call("POST A/storage/kv/namespaces", { title: "t0" });
  for (let index = 1; index <= times; index += 1) {
    await api.call(`PUT A/storage/kv/namespaces/${result.id}`, { title: `t${index}` });
  }
}

describe("audit: ", () => {
  test("each mutation is told with who, from where, before and after", async () => {
    await api.deploy("hello", { bindings: [{ type: "plain_text", name: "P", text: "needle" }] });
    const bindings = [{ type: "secret_text", name: "S", text: "needle" }];
    await api.deploy("hello", { bindings });
    await api.call("POST A/workers/scripts/hello/subdomain", { enabled: false });
    await api.call("PUT A/workers/scripts/hello/routes", [{ pattern: "a.example/*" }]);
    await api.call("DELETE A/workers/scripts/hello");
    const records = await trail();
    const token = api.tenants.ours.token.split("_")[1];
    const own = records.filter((record) => record.token === token);
    expect(own).toMatchObject([
      { action: "worker.delete", before: { version: 2, isOnSubdomain: false }, after: null },
      { action: "route.replace", before: { patterns: [] }, after: { patterns: ["a.example/*"] } },
      {
        action: "worker.subdomain",
        before: { isOnSubdomain: true },
        after: { isOnSubdomain: false },
      },
      {
        action: "version.create",
        before: { number: 1, bindings: ["plain_text P"] },
        after: { number: 2, bindings: ["secret_text S"] },
      },
      { action: "version.create", before: null, after: { number: 1 } },
    ]);
    for (const record of own) {
      expect(record).toMatchObject({ address: "127.0.0.1", subject: "hello" });
    }
    expect(records.map(({ sequence }) => sequence)).toEqual([7, 6, 5, 4, 3, 2, 1]);
    expect(JSON.stringify(records)).not.toContain("needle");
  });

  test("a mutation that is refused leaves no row", async () => {
    const before = await trail();
    await api.call("DELETE A/workers/scripts/missing");
    await api.call("POST A/tokens", { name: "", role: "viewer" });
    expect(await trail()).toEqual(before);
  });

  test("it is filtered by resource, action, subject, token and time", async () => {
    await api.deploy("one");
    await api.deploy("two");
    api.clock.advanceMs(60_000);
    const now = new Date(api.clock.nowMs()).toISOString();
    await api.call("DELETE A/workers/scripts/one");
    const actions = async (query: string) =>
      (await trail(query)).map(({ action, subject }) => `${action} ${subject}`);
    expect(await actions("?action=worker")).toEqual(["worker.delete one"]);
    expect(await actions("?action=work")).toEqual([]);
    expect(await actions("?action=version.create&subject=two")).toEqual(["version.create two"]);
    expect(await actions(`?since=${now}`)).toEqual(["worker.delete one"]);
    expect(await actions(`?until=${now}&subject=one`)).toEqual(["version.create one"]);
    expect(await actions("?token=operator")).toHaveLength(2);
  });

  test("pages follow each other without a gap", async () => {
    await rename(4);
    const pages: Answer[] = [];
    for (let cursor = ""; ;) {
      const response = await api.fetch(`A/audit?limit=3${cursor}`);
      const page = (await response.json()) as Answer & { result_info: { cursor: string } };
      pages.push(page);
      if (page.result_info.cursor === "") break;
      cursor = `&cursor=${page.result_info.cursor}`;
    }
    const sequences = pages.map(({ result }) =>
      (result as ReadonlyArray<AuditRecord>).map(({ sequence }) => sequence),
    );
    expect(sequences).toEqual([[7, 6, 5], [4, 3, 2], [1]]);
  });

  test.each(["?limit=0", "?limit=1001", "?since=yesterday", "?cursor=x", "?who=me", "?action="])(
    "%s is refused",
    async (query) => {
      expect((await api.call(`GET A/audit${query}`)).status).toBe(400);
    },
  );

  test("rows are kept up to their number and age, each account's own", async () => {
    const { database } = api.controlPlane;
    const { account } = api.principal();
    const theirs = (await api.call("GET A/audit", undefined, "theirs")).result;
    const name = `audit ${account}`;
    const value = LIMITS.auditRowsMax + 1;
    await database.updateTable("counters").set({ value }).where("name", "=", name).execute();
    const create = (title: string) => api.call("POST A/storage/kv/namespaces", { title });
    await create("a");
    // Numbers 1 and 2 are `auditRowsMax` and more behind; the new row alone is left.
    expect((await trail()).map(({ sequence }) => sequence)).toEqual([value + 1]);
    api.clock.advanceMs(LIMITS.auditKeptMs);
    await create("b");
    expect(await trail()).toHaveLength(2);
    api.clock.advanceMs(1);
    await create("c");
    expect((await trail()).map(({ sequence }) => sequence)).toEqual([value + 3, value + 2]);
    expect((await api.call("GET A/audit", undefined, "theirs")).result).toEqual(theirs);
  });

  test("what is nobody's is the fleet's: join tokens and nodes", async () => {
    await api.controlPlane.nodes.issueJoinToken();
    const query = { limit: 10 };
    const records = await new AuditStore().list(api.controlPlane.database, FLEET, query);
    expect(records).toMatchObject([
      { account: "fleet", token: "operator", address: null, action: "join_token.create" },
    ]);
  });
});
