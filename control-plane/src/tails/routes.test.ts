import { afterAll, beforeAll, expect, test } from "vitest";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";

const TAILS = "A/workers/scripts/hello/tails";

let api: ControlPlaneApi;
beforeAll(async () => {
  api = await ControlPlaneApi.start({ servedWaitMs: 0 });
  expect((await api.deploy("hello")).success).toBe(true);
});
afterAll(() => api.close());

test("tail routes: a tail is opened, listed and deleted", async () => {
  const filters = [
    { sampling_rate: 0.5 },
    { outcome: ["ok", "exception"] },
    { method: ["GET"] },
    { header: { key: "x-a" } },
    { header: { key: "x-a", query: "b" } },
    { client_ip: ["self", "192.0.2.1"] },
    { query: "text" },
    { scriptVersion: "b1f3a0f6-0000-4000-8000-000000000000" },
  ];
  const { result, success } = await api.call(`POST ${TAILS}`, { filters });
  expect(success).toBe(true);
  expect(result.url).toMatch(/^ws:\/\/127\.0\.0\.1:\d+\/tails\/[\w-]{43}$/);
  const row = { id: result.id, expires_at: result.expires_at };
  expect((await api.call(`GET ${TAILS}`)).result).toEqual([row]);
  expect((await api.call(`DELETE ${TAILS}/${result.id}`)).success).toBe(true);
  expect((await api.call(`GET ${TAILS}`)).result).toEqual([]);
  // wrangler deletes a tail when its connection was closed, and takes a refusal for a failure.
  expect((await api.call(`DELETE ${TAILS}/${result.id}`)).success).toBe(true);
});

test("tail routes: behind a proxy with TLS the address is one, too", async () => {
  const init = { method: "POST", body: "{}", headers: { "x-forwarded-proto": "https" } };
  const answer = (await (await api.fetch(TAILS, init)).json()) as { result: { url: string } };
  expect(answer.result.url).toMatch(/^wss:/);
});

test.each([
  ["a filter that nobody knows", [{ colour: "red" }]],
  ["two in one", [{ query: "a", method: ["GET"] }]],
  ["a rate of 0", [{ sampling_rate: 0 }]],
  ["a rate above 1", [{ sampling_rate: 1.01 }]],
  ["a header without a name", [{ header: { key: "" } }]],
  ["a text that is too long", [{ query: "x".repeat(1_025) }]],
  ["too many", Array.from({ length: 21 }, () => ({ query: "a" }))],
  ["too many choices", [{ method: Array.from({ length: 51 }, () => "GET") }]],
  ["no list", { query: "a" }],
])("tail routes: %s is refused", async (_what, filters) => {
  const { status, errors } = await api.call(`POST ${TAILS}`, { filters });
  expect([status, errors[0]?.code]).toEqual([400, 10_001]);
});

test("tail routes: a worker that there is not, or of another account, has none", async () => {
  const missing = await api.call("POST A/workers/scripts/nobody/tails", { filters: [] });
  expect([missing.status, missing.errors[0]?.code]).toEqual([404, 10_007]);
  const foreign = await api.call(`POST ${TAILS}`, { filters: [] }, "theirs");
  expect([foreign.status, foreign.errors[0]?.code]).toEqual([404, 10_007]);
});
