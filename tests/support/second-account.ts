import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import type { TestAtoll } from "./atoll.ts";

/** The same Atoll as a new account sees it, which the operator makes. */
export async function asNewAccount(atoll: TestAtoll): Promise<TestAtoll> {
  const name = `account ${randomBytes(4).toString("hex")}`;
  const { exitCode, output, stdout } = await atoll.atoll(["account", "create", name, "--json"]);
  assert.equal(exitCode, 0, output);
  const made = JSON.parse(stdout) as { readonly account: string; readonly token: string };
  return {
    ...atoll,
    variables: {
      ...atoll.variables,
      CLOUDFLARE_API_TOKEN: made.token,
      CLOUDFLARE_ACCOUNT_ID: made.account,
    },
    api: (path, options = {}) =>
      atoll.api(path, {
        ...options,
        headers: { authorization: `Bearer ${made.token}`, ...options.headers },
      }),
  };
}
