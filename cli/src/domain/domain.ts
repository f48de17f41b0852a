import { ListedDomain, takeDomain, type DatabasePlace } from "@atoll/control-plane";
import { systemClock } from "@atoll/kv-store";
import Table from "cli-table3";
import { z } from "zod";
import type { AccountApi } from "../account-api.ts";
import { requirePlace } from "../database-place.ts";
import { explained } from "../explained.ts";

export async function addDomain(api: AccountApi, domain: string): Promise<ListedDomain> {
  const body = JSON.stringify({ domain });
  return api.call("/domains", ListedDomain, { method: "POST", body });
}

export async function verifyDomain(api: AccountApi, domain: string): Promise<ListedDomain> {
  return api.call(`${pathOf(domain)}/verify`, ListedDomain, { method: "POST" });
}

export async function listDomains(api: AccountApi): Promise<ReadonlyArray<ListedDomain>> {
  return api.call("/domains", z.array(ListedDomain));
}

export async function deleteDomain(
  api: AccountApi,
  domain: string,
): Promise<{ readonly domain: string }> {
  return api.call(pathOf(domain), z.object({ domain: z.string() }), { method: "DELETE" });
}

/** Takes a domain from whoever proved it, straight in the control plane's database. */
export async function deleteDomainOfAnybody(
  place: DatabasePlace,
  domain: string,
): Promise<{ readonly domain: string; readonly account: string }> {
  requirePlace(place);
  const account = await explained(() => takeDomain({ ...place, clock: systemClock, domain }));
  return { domain, account };
}

/** What is to be done about a claim. */
export function formatClaim(claim: ListedDomain): string {
  if (claim.status === "proved") return formatProved(claim);
  const { domain, challenge, expires_at: until } = claim;
  return [
    `To prove that ${domain} is yours, set this ${challenge.type} record until ${until}:`,
    "",
    `  name   ${challenge.name}`,
    `  value  ${challenge.value}`,
    "",
    `Then run 'atoll domain verify ${domain}'.`,
  ].join("\n");
}

export function formatProved({ domain, proved_at: since }: ListedDomain): string {
  return `${domain} and what lies below it are yours since ${since}. The TXT record may go.`;
}

export function formatDomains(domains: ReadonlyArray<ListedDomain>): string {
  const head = ["domain", "state", "since or until", "TXT record"];
  const table = new Table({ head, style: { head: [], border: [] } });
  for (const { domain, status, challenge, ...times } of domains) {
    const isProved = status === "proved";
    table.push([
      domain,
      status,
      isProved ? `since ${times.proved_at}` : `until ${times.expires_at}`,
      isProved ? "" : `${challenge.name}\n${challenge.value}`,
    ]);
  }
  return table.toString();
}

function pathOf(domain: string): string {
  return `/domains/${encodeURIComponent(domain)}`;
}
