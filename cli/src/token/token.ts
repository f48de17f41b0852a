import { CreatedToken, ListedToken } from "@atoll/control-plane";
import Table from "cli-table3";
import { z } from "zod";
import type { AccountApi } from "../account-api.ts";

export interface NewToken {
  readonly name: string;
  readonly role: string;
  /** The worker that it is for. */
  readonly worker?: string;
  /** Id of the KV namespace that it is for. */
  readonly namespace?: string;
  readonly expires?: Date;
}

/** Makes a token. The answer holds it this once. */
export async function createToken(api: AccountApi, wanted: NewToken): Promise<CreatedToken> {
  const { name, role, worker, namespace, expires } = wanted;
  const body = JSON.stringify({
    name,
    role,
    worker,
    namespace,
    expires_at: expires?.toISOString(),
  });
  return api.call("/tokens", CreatedToken, { method: "POST", body });
}

export async function listTokens(api: AccountApi): Promise<ReadonlyArray<ListedToken>> {
  return api.call("/tokens", z.array(ListedToken));
}

export async function revokeToken(api: AccountApi, id: string): Promise<{ readonly id: string }> {
  const path = `/tokens/${encodeURIComponent(id)}`;
  return api.call(path, z.object({ id: z.string() }), { method: "DELETE" });
}

/** A new token as people read it: nobody can show it again. */
export function formatCreated(token: CreatedToken): string {
  const until = token.expires_at === null ? "" : `, until ${token.expires_at}`;
  return [
    `Token ${token.id} (${token.name}): ${token.role} of ${reachOf(token)}${until}.`,
    "It is not shown again:",
    "",
    `CLOUDFLARE_API_TOKEN=${token.value}`,
  ].join("\n");
}

export function formatTokens(tokens: ReadonlyArray<ListedToken>): string {
  const table = new Table({
    head: ["id", "name", "role", "for", "made", "expires", "last used"],
    style: { head: [], border: [] },
  });
  for (const token of tokens) {
    const { id, name, role, created_at: made } = token;
    const times = [made, token.expires_at ?? "never", token.last_used_at ?? "never"];
    table.push([id, name, role, reachOf(token), ...times]);
  }
  return table.toString();
}

function reachOf({ worker, namespace }: ListedToken): string {
  if (worker !== null) return `worker ${worker}`;
  return namespace === null ? "the account" : `namespace ${namespace}`;
}
