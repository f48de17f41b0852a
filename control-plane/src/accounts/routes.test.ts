import { afterEach, beforeEach, expect, test } from "vitest";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";

let api: ControlPlaneApi;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
});
afterEach(() => api.close());

test("accounts: wrangler finds who it is and its one account", async () => {
  const { id, name } = api.tenants.ours.account;
  expect((await api.call("GET /user/tokens/verify")).errors[0]?.code).toBe(1_000);
  expect((await api.call("GET /user")).errors[0]?.code).toBe(9_109);
  expect((await api.call("GET /accounts?page=1")).result).toMatchObject([{ id, name }]);
  expect((await api.call("GET A/")).status).toBe(404);
  expect((await api.call(`GET /accounts/${id}`)).result).toEqual({ id, name });
  expect((await api.call("GET /memberships?page=1")).result).toMatchObject([
    { account: { id, name }, roles: ["Administrator"] },
  ]);
});

test("accounts: the operator's token is of the first account, and earlier ones still hold", async () => {
  const { accounts, tokens } = api.controlPlane;
  const first = await accounts.bootstrap();
  expect(first.account).toEqual(api.tenants.ours.account);
  const principal = {
    account: first.account.id,
    tokenId: expect.any(String),
    role: "admin",
    scope: { kind: "account" },
  };
  expect(await tokens.verify(first.token)).toEqual(principal);
  expect(await tokens.verify(api.tenants.ours.token)).toEqual(principal);
});
