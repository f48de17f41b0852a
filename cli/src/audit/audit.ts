import { AuditQuery, AuditRecord, openAuditTrail, type DatabasePlace } from "@atoll/control-plane";
import Table from "cli-table3";
import { z } from "zod";
import type { AccountApi } from "../account-api.ts";
import { requirePlace } from "../database-place.ts";

export interface AuditFilter {
  readonly action?: string;
  readonly subject?: string;
  readonly token?: string;
  readonly since?: Date;
  readonly until?: Date;
  readonly limit: number;
}

/** The trail of the caller's account. */
export async function fetchAudit(
  api: AccountApi,
  filter: AuditFilter,
): Promise<ReadonlyArray<AuditRecord>> {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(queryOf(filter))) query.set(name, String(value));
  return api.call(`/audit?${query.toString()}`, z.array(AuditRecord));
}

/** The trail of any account, or of the fleet, straight from the control plane's database. */
export async function readAudit(
  source: DatabasePlace & { readonly account: string },
  filter: AuditFilter,
): Promise<ReadonlyArray<AuditRecord>> {
  requirePlace(source);
  const trail = await openAuditTrail(source);
  try {
    return await trail.list(source.account, AuditQuery.parse(queryOf(filter)));
  } finally {
    await trail.close();
  }
}

/** The trail as people read it. */
export function formatAudit(records: ReadonlyArray<AuditRecord>): string {
  const table = new Table({
    head: ["at", "token", "from", "action", "subject", "before", "after"],
    style: { head: [], border: [] },
  });
  for (const { at, token, address, action, subject, before, after } of records) {
    const facts = [before, after].map((each) => (each === null ? "" : JSON.stringify(each)));
    table.push([at, token, address ?? "this machine", action, subject, ...facts]);
  }
  return table.toString();
}

function queryOf({ since, until, ...others }: AuditFilter) {
  return {
    ...others,
    ...(since === undefined ? {} : { since: since.toISOString() }),
    ...(until === undefined ? {} : { until: until.toISOString() }),
  };
}
