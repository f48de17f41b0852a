import { afterEach, beforeEach, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { ControlPlaneApi, type Answer, type Tenant } from "../test-support/control-plane-api.ts";

let api: ControlPlaneApi;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
});
afterEach(() => api.close());

const NAMESPACES = "A/storage/kv/namespaces";

async function send(
  method: string,
  path: string,
  body?: unknown,
  tenant?: Tenant,
): Promise<Answer> {
  return api.call(`${method} ${NAMESPACES}${path}`, body, tenant);
}

async function create(title: string, tenant?: Tenant): Promise<string> {
  const { result } = await send("POST", "", { title }, tenant);
  return result.id as string;
}

async function auditTrail(): Promise<unknown> {
  return api.controlPlane.database
    .selectFrom("audit")
    .select(["account_id", "action", "subject", "before", "after"])
    .where("token_id", "!=", "operator")
    .orderBy("sequence")
    .execute();
}

test("namespaces: one is created, found, renamed and deleted, and each change is in the audit trail", async () => {
  const created = await send("POST", "", { title: "words" });
  const { id } = created.result as { id: string };
  expect(created).toMatchObject({
    status: 200,
    success: true,
    result: { id: expect.stringMatching(/^[0-9a-f]{32}$/), title: "words" },
  });
  expect((await send("GET", `/${id}`)).result).toMatchObject({ id, title: "words" });

  const renamed = await send("PUT", `/${id}`, { title: "more words" });
  expect(renamed.result).toMatchObject({ id, title: "more words" });
  expect((await send("GET", `/${id}`)).result).toMatchObject({ title: "more words" });

  expect(await send("DELETE", `/${id}`)).toMatchObject({ status: 200, success: true });
  expect((await send("GET", `/${id}`)).errors[0]).toMatchObject({ code: 10_013 });
  await expect(api.origin.point(id as never)).rejects.toMatchObject({
    code: "namespace_not_found",
  });
  const row = { account_id: api.principal().account, subject: id };
  const [words, moreWords] = ['{"title":"words"}', '{"title":"more words"}'];
  expect(await auditTrail()).toEqual([
    { ...row, action: "kv_namespace.create", before: null, after: words },
    { ...row, action: "kv_namespace.rename", before: words, after: moreWords },
    { ...row, action: "kv_namespace.delete", before: moreWords, after: null },
  ]);
});

test("namespaces: a title is taken once per account", async () => {
  const id = await create("words");
  const other = await create("other");
  expect(await send("POST", "", { title: "words" })).toMatchObject({
    status: 400,
    errors: [{ code: 10_014, message: expect.stringContaining(id) }],
  });
  const renamed = await send("PUT", `/${other}`, { title: "words" });
  expect(renamed.errors[0]).toMatchObject({ code: 10_014 });
  expect((await send("PUT", `/${id}`, { title: "words" })).success).toBe(true);
  expect(await create("words", "theirs")).not.toBe(id);
});

test("namespaces: titles that are empty, too long or of no characters are refused", async () => {
  const id = await create("words");
  for (const title of ["", "  ", "a".repeat(513), "a\u0000", "\ud800", 7, undefined]) {
    for (const answer of [
      await send("POST", "", { title }),
      await send("PUT", `/${id}`, { title }),
    ]) {
      expect(answer).toMatchObject({ status: 400, errors: [{ code: 10_019 }] });
    }
  }
  const longest = await send("POST", "", { title: "a".repeat(512) });
  expect(longest.success).toBe(true);
});

test("namespaces: what is asked for beside a title is refused, not dropped", async () => {
  const answer = await send("POST", "", { title: "words", jurisdiction: "eu" });
  expect(answer).toMatchObject({
    status: 400,
    errors: [{ code: 10_001, message: expect.stringContaining("jurisdiction") }],
  });
  expect((await send("GET", "")).result).toEqual([]);
});

test("namespaces: pages have the size and order that were asked for, and end with an empty one", async () => {
  const titles = ["b", "d", "a", "c", "e"];
  for (const title of titles) await create(title);
  const page = async (query: string) => {
    const { result, result_info } = await send("GET", query);
    return { titles: (result as Array<{ title: string }>).map(({ title }) => title), result_info };
  };
  const query = "?per_page=2&order=title&direction=desc";
  expect(await page(query)).toEqual({
    titles: ["e", "d"],
    result_info: { page: 1, per_page: 2, count: 2, total_count: 5 },
  });
  expect((await page(`${query}&page=3`)).titles).toEqual(["a"]);
  expect(await page(`${query}&page=4`)).toMatchObject({
    titles: [],
    result_info: { count: 0, total_count: 5 },
  });
  const all = await page("?per_page=1000&order=title");
  expect(all.titles).toEqual(["a", "b", "c", "d", "e"]);
  expect((await page("")).titles).toHaveLength(5);
});

test("namespaces: queries of a listing with a wrong value or an unknown name are refused", async () => {
  for (const query of ["page=0", "page=x", "per_page=1001", "order=size", "direction=up", "q=1"]) {
    const answer = await send("GET", `?${query}`);
    expect(answer).toMatchObject({ status: 400, errors: [{ code: 10_001 }] });
    expect(answer.errors[0]?.message).toContain(query.split("=")[0]);
  }
});

test("namespaces: another account's namespace is answered like one that does not exist", async () => {
  const id = await create("secret plans", "theirs");
  const nobodys = "0".repeat(32);
  const calls: ReadonlyArray<readonly [method: string, rest: string, body?: unknown]> = [
    ["GET", ""],
    ["PUT", "", { title: "mine" }],
    ["DELETE", ""],
    ["PUT", "/values/key", "value"],
    ["GET", "/values/key"],
    ["DELETE", "/values/key"],
    ["GET", "/metadata/key"],
    ["GET", "/keys"],
    ["PUT", "/bulk", []],
    ["DELETE", "/bulk", []],
    ["POST", "/bulk/delete", []],
    ["POST", "/bulk/get", { keys: ["key"] }],
  ];
  for (const [method, rest, body] of calls) {
    const theirs = await send(method, `/${id}${rest}`, body);
    const missing = await send(method, `/${nobodys}${rest}`, body);
    expect(theirs).toMatchObject({ status: 404, errors: [{ code: 10_013 }] });
    expect(theirs.errors[0]?.message.replace(id, nobodys)).toBe(missing.errors[0]?.message);
  }
  expect((await send("GET", "")).result).toEqual([]);
  expect((await send("GET", `/${id}`, undefined, "theirs")).success).toBe(true);
});

test("namespaces: an id of another form is refused as such", async () => {
  for (const id of ["x", "F".repeat(32), "0".repeat(33)]) {
    const answer = await send("GET", `/${id}`);
    expect(answer).toMatchObject({ status: 400, errors: [{ code: 10_011 }] });
  }
});

test("namespaces: an account has as many namespaces as allowed, and no more", async () => {
  const { account } = api.principal();
  const rows = Array.from({ length: LIMITS.namespacesMax }, (_, index) => ({
    id: index.toString(16).padStart(32, "0"),
    account_id: account,
    title: `title ${index}`,
    created_at: "2026-11-22T00:00:00.000Z",
  }));
  await api.controlPlane.database.insertInto("kv_namespaces").values(rows).execute();
  expect(await send("POST", "", { title: "one more" })).toMatchObject({
    status: 400,
    errors: [{ code: 10_018 }],
  });
  expect(await api.controlPlane.database.selectFrom("kv_leftovers").selectAll().execute()).toEqual(
    [],
  );
});

test("namespaces: a key '..' that a client resolved into the path changes no namespace", async () => {
  const id = await create("words");
  for (const path of [`/${id}/values/..`, `/${id}/values/.`, `/${id}/values/`, `/${id}/`]) {
    for (const method of ["PUT", "DELETE", "GET"]) {
      const body = method === "PUT" ? { title: "a value" } : undefined;
      const answer = await send(method, path, body);
      expect(answer).toMatchObject({ status: 400, errors: [{ code: 10_042 }] });
    }
  }
  expect((await send("GET", `/${id}`)).result).toMatchObject({ id, title: "words" });
});
