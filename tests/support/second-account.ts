import { createHash, randomBytes } from "node:crypto";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { TestAtoll } from "./atoll.ts";

/** The same Atoll as a new account sees it. */
export function asNewAccount(atoll: TestAtoll): TestAtoll {
  const variables = addAccount(atoll);
  const authorization = `Bearer ${variables["CLOUDFLARE_API_TOKEN"]}`;
  return {
    ...atoll,
    variables,
    api: (path, options = {}) =>
      atoll.api(path, { ...options, headers: { authorization, ...options.headers } }),
  };
}

/**
 * Adds an account with a token, straight in the database of the running control plane: there is no
 * command for it yet. Resolves with the variables that point wrangler at it.
 */
export function addAccount(atoll: TestAtoll): Readonly<Record<string, string>> {
  const account = randomBytes(16).toString("hex");
  const tokenId = randomBytes(8).toString("hex");
  const token = `atoll_${tokenId}_${randomBytes(32).toString("base64url")}`;
  const hash = createHash("sha256").update(token).digest("hex");
  const now = new Date().toISOString();
  const file = join(atoll.dataDirectory, "control-plane", "control-plane.sqlite");
  const database = new DatabaseSync(file, { timeout: 5_000 });
  database
    .prepare("INSERT INTO accounts (id, name, created_at) VALUES (?, ?, ?)")
    .run(account, "Second", now);
  database
    .prepare(
      "INSERT INTO api_tokens (id, account_id, token_hash, name, created_at) VALUES (?, ?, ?, ?, ?)",
    )
    .run(tokenId, account, hash, "test", now);
  database.close();
  return { ...atoll.variables, CLOUDFLARE_API_TOKEN: token, CLOUDFLARE_ACCOUNT_ID: account };
}
