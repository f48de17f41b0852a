import { DnsServer } from "@atoll/control-plane/test-support/dns-server";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  EVERYDAY_RELEASES,
  startAtoll,
  type CommandResult,
  type TestAtoll,
  type WranglerRelease,
} from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { createProject } from "../support/project.ts";
import { accountPath } from "../support/refusal.ts";
import { asNewAccount } from "../support/second-account.ts";
import { upload } from "../support/upload.ts";

let dns: DnsServer;
let atoll: TestAtoll;
/** The same Atoll with another account's token, because of which domains have to be proved. */
let theirs: TestAtoll;
beforeAll(async () => {
  dns = await DnsServer.start();
  atoll = await startAtoll({ environment: { ATOLL_DNS_RESOLVER: dns.address } });
  const source = `export default { fetch: () => new Response("the first") };`;
  expect((await upload(atoll, { name: "first", source })).status).toBe(200);
  const alone = await atoll.api(accountPath(atoll, "/workers/scripts/first/routes"), {
    method: "PUT",
    body: JSON.stringify([{ pattern: "unproved.example/*" }]),
  });
  expect(alone.status, "an account that is alone needs no proof").toBe(200);
  theirs = await asNewAccount(atoll);
});
afterAll(async () => {
  await atoll.stop();
  await dns.close();
});

interface Claim {
  readonly domain: string;
  readonly status: string;
  readonly challenge: { readonly name: string; readonly value: string };
}

async function domain(...command: ReadonlyArray<string>): Promise<CommandResult> {
  return atoll.atoll(["domain", ...command]);
}

/** Proves a domain for an account. */
async function prove(owner: TestAtoll, name: string): Promise<void> {
  const post = async (path: string, body?: string): Promise<Claim> => {
    const init = { method: "POST", ...(body === undefined ? {} : { body }) };
    const answer = await owner.api(accountPath(owner, `/domains${path}`), init);
    expect(answer.status, answer.body).toBe(200);
    return (JSON.parse(answer.body) as { readonly result: Claim }).result;
  };
  const { challenge } = await post("", JSON.stringify({ domain: name }));
  dns.setTexts(challenge.name, challenge.value);
  expect(await post(`/${name}/verify`)).toMatchObject({ domain: name, status: "proved" });
}

async function deploy(
  release: WranglerRelease,
  name: string,
  config: Readonly<Record<string, unknown>>,
): Promise<CommandResult> {
  const settings = { name, main: "index.js", compatibility_date: "2026-06-01" };
  const project = await createProject({
    "index.js": `export default { fetch: () => new Response("${name}") };`,
    "wrangler.json": JSON.stringify({ ...settings, ...config }),
  });
  const result = await atoll.wrangler(project.directory, ["deploy"], { release });
  await project.remove();
  return result;
}

async function answers(host: string, body: string): Promise<void> {
  await eventually(async () => (await atoll.get("fra", host, "/")).body === body, {
    what: `${host} answers '${body}'`,
  });
}

test("domain: is claimed, proved, listed and given up by the command", async () => {
  const added = await domain("add", "Example.com");
  const [, name = "", value = ""] = /name {3}(\S+)\n {2}value {2}(\S+)\n/.exec(added.output) ?? [];
  expect(name).toBe("_atoll-challenge.example.com");
  const early = await domain("verify", "example.com");
  expect(early).toMatchObject({ exitCode: 1 });
  expect(early.output).toContain("_atoll-challenge.example.com has no TXT record yet");
  expect(early.output).not.toMatch(/\n\s+at /);
  dns.setTexts(name, value);
  const verified = await domain("verify", "example.com");
  expect(verified).toMatchObject({ exitCode: 0 });
  expect(verified.output).toContain("example.com and what lies below it are yours since");
  expect(JSON.parse((await domain("list", "--json")).output)).toMatchObject([
    { domain: "example.com", status: "proved" },
  ]);
  expect((await domain("delete", "example.com")).output).toBe("Gave up example.com.\n");
  const base = await domain("add", "localhost");
  expect(base).toMatchObject({ exitCode: 1 });
  expect(base.output).toContain("'localhost' is the base domain of this Atoll");
}, 60_000);

describe.each(EVERYDAY_RELEASES)("wrangler %s: ", (release) => {
  const tag = `v${release.replace(".", "")}`;
  const zone = `${tag}.example`;
  const routes = [
    { pattern: `shop.${zone}`, custom_domain: true },
    { pattern: `${zone}/*`, zone_name: zone },
    `*.${zone}/api/*`,
  ];

  test("deploys custom domains and zone routes of a proved domain, and no others", async () => {
    const refused = await deploy(release, tag, { routes });
    expect(refused.exitCode, refused.output).not.toBe(0);
    expect(refused.output).toContain("your account has not proved that");
    expect(refused.output).toMatch(new RegExp(`atoll domain add (shop\\.)?${zone}`));
    expect(refused.output).not.toContain("proxied by Cloudflare");
    await prove(atoll, zone);
    const deployed = await deploy(release, tag, { routes });
    expect(deployed.exitCode, deployed.output).toBe(0);
    expect(deployed.output).toContain(`shop.${zone} (custom domain)`);
    await answers(`shop.${zone}`, tag);
    await answers(zone, tag);
    // With nothing to change wrangler looks up the zone of each route, and what is routed there.
    const again = await deploy(release, tag, { routes });
    expect(again.exitCode, again.output).toBe(0);
  }, 120_000);

  test("is told that a domain is another account's", async () => {
    await prove(theirs, `theirs-${zone}`);
    const pattern = { pattern: `www.theirs-${zone}`, custom_domain: true };
    const { exitCode, output } = await deploy(release, `${tag}-hopeful`, { routes: [pattern] });
    expect(exitCode, output).not.toBe(0);
    expect(output).toContain(`'theirs-${zone}' belongs to another account`);
  }, 60_000);
});

test("a route that was there unproved serves until its domain's owner proves it", async () => {
  const host = "unproved.example";
  await answers(host, "the first");
  const source = `export default { fetch: () => new Response("the owner") };`;
  const answer = await upload(theirs, { name: "owner", source });
  expect(answer.status, answer.body).toBe(200);
  await prove(theirs, host);
  await eventually(async () => (await atoll.get("fra", host, "/")).status === 404, {
    what: "the route of the one who did not own it is gone",
  });
  const routed = await theirs.api(accountPath(theirs, "/workers/scripts/owner/routes"), {
    method: "PUT",
    body: JSON.stringify([{ pattern: `${host}/*` }]),
  });
  expect(routed.status, routed.body).toBe(200);
  await answers(host, "the owner");
});
