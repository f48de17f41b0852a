import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { hostKey, splitPattern } from "../routes/route-pattern.ts";
import { ControlPlaneApi, type Tenant } from "../test-support/control-plane-api.ts";
import { DnsServer } from "../test-support/dns-server.ts";
import { takeDomain } from "./take-domain.ts";

let dns: DnsServer;
let api: ControlPlaneApi;
beforeEach(async () => {
  dns = await DnsServer.start();
  api = await ControlPlaneApi.start({ ownershipRule: "auto", dnsServers: [dns.address] });
});
afterEach(async () => {
  await api.close();
  await dns.close();
});

async function add(domain: string, tenant?: Tenant) {
  return api.call("POST A/domains", { domain }, tenant);
}

async function verify(domain: string, tenant?: Tenant) {
  return api.call(`POST A/domains/${encodeURIComponent(domain)}/verify`, undefined, tenant);
}

async function release(domain: string, tenant?: Tenant) {
  return api.call(`DELETE A/domains/${domain}`, undefined, tenant);
}

/** Claims a domain, sets the record that is asked for, and verifies. */
async function prove(domain: string, tenant?: Tenant): Promise<void> {
  const { challenge } = (await add(domain, tenant)).result;
  dns.setTexts(challenge.name, "v=spf1 -all", challenge.value);
  expect(await verify(domain, tenant)).toMatchObject({ result: { domain, status: "proved" } });
}

async function statuses(tenant?: Tenant): Promise<ReadonlyArray<string>> {
  const { result } = await api.call("GET A/domains", undefined, tenant);
  return result.map(
    ({ domain, status }: Readonly<Record<string, string>>) => `${domain} ${status}`,
  );
}

async function setRoutes(worker: string, patterns: ReadonlyArray<string>, tenant?: Tenant) {
  const body = patterns.map((pattern) => ({ pattern }));
  return api.call(`PUT A/workers/scripts/${worker}/routes`, body, tenant);
}

/** As an account made them when it was the only one. */
async function insertRoutes(worker: string, patterns: ReadonlyArray<string>): Promise<void> {
  const { database } = api.controlPlane;
  const { account } = api.principal();
  const { id } = await database
    .selectFrom("workers")
    .select("id")
    .where("name", "=", worker)
    .executeTakeFirstOrThrow();
  const row = { account_id: account, worker_id: id, kind: "route" as const, created_at: "" };
  const rows = patterns.map((pattern) => {
    const host_key = hostKey(splitPattern(pattern).host);
    return { ...row, id: pattern, pattern, host_key };
  });
  await database.insertInto("routes").values(rows).execute();
}

async function audited(tenant?: Tenant): Promise<ReadonlyArray<string>> {
  const { result } = await api.call("GET A/audit", undefined, tenant);
  return result
    .map(
      ({ action, subject, token }: Readonly<Record<string, string>>) =>
        `${action} ${subject}${token === "other-account" ? " by another" : ""}`,
    )
    .filter((line: string) => !line.startsWith("token."))
    .toReversed();
}

describe("domains: ", () => {
  test("one is claimed, proved by its record, kept when that goes, and released", async () => {
    const { result: claim } = await add("Shop.Example.com.");
    expect(claim).toMatchObject({
      domain: "shop.example.com",
      status: "pending",
      challenge: {
        type: "TXT",
        name: "_atoll-challenge.shop.example.com",
        value: expect.stringMatching(/^atoll-domain-verification=[\w-]{43}$/),
      },
      expires_at: new Date(api.clock.nowMs() + LIMITS.domainClaimMs).toISOString(),
      proved_at: null,
    });
    expect(await verify("shop.example.com")).toMatchObject({
      status: 409,
      errors: [{ message: expect.stringContaining("has no TXT record yet") }],
    });
    dns.setTexts(claim.challenge.name, claim.challenge.value);
    const { result: proved } = await verify("SHOP.example.com");
    expect(proved).toMatchObject({ status: "proved", expires_at: null });
    dns.set(claim.challenge.name, { kind: "failure", code: 2 });
    api.clock.advanceMs(10 * LIMITS.domainClaimMs);
    expect((await verify("shop.example.com")).result).toEqual(proved);
    expect((await add("shop.example.com")).result).toEqual(proved);
    expect(await statuses()).toEqual(["shop.example.com proved"]);
    expect(await statuses("theirs")).toEqual([]);
    expect((await release("shop.example.com")).result).toEqual({ domain: "shop.example.com" });
    expect((await release("shop.example.com")).status).toBe(404);
    expect((await verify("shop.example.com")).status).toBe(404);
    const actions = ["claim", "prove", "release"];
    expect(await audited()).toEqual([
      expect.stringContaining("account.create"),
      ...actions.map((action) => `domain.${action} shop.example.com`),
    ]);
  });

  test("another record, and too many, prove nothing, and are told safely", async () => {
    const { challenge } = (await add("example.com")).result;
    const { challenge: theirs } = (await add("example.com", "theirs")).result;
    expect(theirs.name).toBe(challenge.name);
    dns.setTexts(challenge.name, "\u001b[2J", theirs.value, "c", `${challenge.value} `, "e");
    const refused = await verify("example.com");
    expect(refused).toMatchObject({ status: 409, errors: [{ code: 1_049 }] });
    expect(refused.errors[0]?.message).toContain(
      `has the TXT records ' [2J', '${theirs.value}', 'c' and 2 more, and one has to be '${challenge.value}'`,
    );
    const many = Array.from({ length: LIMITS.domainRecordsMax }, (_, index) => `${index}`);
    dns.setTexts(challenge.name, ...many, challenge.value);
    expect((await verify("example.com")).errors[0]?.message).toContain("has 101 TXT records");
    dns.setTexts(challenge.name, ...many.slice(1), challenge.value);
    expect((await verify("example.com")).status).toBe(200);
  });

  test.each([
    { what: "SERVFAIL", answer: { kind: "failure", code: 2 } },
    { what: "what is no answer", answer: { kind: "garbage" } },
  ] as const)("a resolver that answers $what is asked again later", async ({ answer }) => {
    const { challenge } = (await add("example.com")).result;
    dns.set(challenge.name, answer);
    expect(await verify("example.com")).toMatchObject({ status: 503, errors: [{ code: 1_049 }] });
    dns.setTexts(challenge.name, challenge.value);
    expect((await verify("example.com")).status).toBe(200);
  });

  test("look-ups that hang are few, and hold up no other account", async () => {
    const held = Promise.withResolvers<void>();
    const { challenge } = (await add("slow.example")).result;
    const texts = [challenge.value];
    dns.set(challenge.name, { kind: "held", texts, until: held.promise });
    const waiting = [verify("slow.example"), verify("slow.example")];
    await expect.poll(() => dns.questions.length).toBe(2);
    expect(await verify("slow.example")).toMatchObject({
      status: 503,
      errors: [{ message: expect.stringContaining("2 DNS look-ups of your account") }],
    });
    await prove("fast.example", "theirs");
    held.resolve();
    expect((await Promise.all(waiting)).map(({ status }) => status)).toEqual([200, 200]);
    expect(await audited()).toHaveLength(3);
  });

  test("a claim blocks nobody, and the first proof has it with all that lies below", async () => {
    await add("example.com");
    await add("shop.example.com");
    await prove("example.com", "theirs");
    for (const domain of ["example.com", "shop.example.com", "a.b.example.com"]) {
      const refused = await add(domain);
      expect(refused).toMatchObject({ status: 409, errors: [{ code: 1_061 }] });
      expect(refused.errors[0]?.message).toBe(
        `The domain '${domain}' can't be claimed: another account was the first to prove 'example.com', and has it with all that lies below`,
      );
    }
    expect((await verify("shop.example.com")).errors[0]?.message).toContain("first to prove");
    expect(dns.questions).toHaveLength(1);
    await prove("notexample.com");
    expect((await release("example.com", "theirs")).status).toBe(200);
    await prove("shop.example.com");
    // What lies above is still free, and what was proved below it stays whose it is.
    await prove("example.com", "theirs");
    expect(await statuses()).toContain("shop.example.com proved");
  });

  test("a claim ends by itself; one that is made again keeps its token and gets new time", async () => {
    const { result: first } = await add("example.com");
    api.clock.advanceMs(LIMITS.domainClaimMs - 1);
    const { result: renewed } = await add("example.com");
    expect(renewed.challenge).toEqual(first.challenge);
    dns.setTexts(first.challenge.name, first.challenge.value);
    api.clock.advanceMs(LIMITS.domainClaimMs);
    const expired = await verify("example.com");
    expect(expired).toMatchObject({ status: 404, errors: [{ code: 1_001 }] });
    expect(expired.errors[0]?.message).toContain(`expired at ${renewed.expires_at}`);
    expect(await statuses()).toEqual([]);
    const { result: again } = await add("example.com");
    expect(again.challenge.value).not.toBe(first.challenge.value);
    expect((await verify("example.com")).status).toBe(409);
  });

  test("an account has a bounded number of them", async () => {
    const { account } = api.principal();
    const row = { account_id: account, token: "x", created_at: "", expires_at: "9999" };
    for (let index = 0; index < LIMITS.domainsMax; index += 1) {
      const values = { ...row, id: String(index), name: `d${index}.example` };
      await api.controlPlane.database.insertInto("domains").values(values).execute();
    }
    const refused = await add("one-more.example");
    expect(refused).toMatchObject({ status: 400, errors: [{ code: 1_105 }] });
    expect(refused.errors[0]?.message).toContain("the limit is 1000");
    expect((await add("d7.example")).status).toBe(200);
    expect((await add("one-more.example", "theirs")).status).toBe(200);
  });

  test.each([
    { what: "no domain", body: {} },
    { what: "a number", body: { domain: 7 } },
    { what: "an unknown field", body: { domain: "a.example", proved: true } },
    { what: "too long a text", body: { domain: "a".repeat(1_025) } },
    { what: "one of the base domain", body: { domain: "mine.atoll.test" } },
    { what: "an address", body: { domain: "127.0.0.1" } },
  ])("$what is refused and claims nothing", async ({ body }) => {
    expect((await api.call("POST A/domains", body)).status).toBe(400);
    expect(await statuses()).toEqual([]);
  });
});

test("domains: the operator takes one from whom it belonged to, beside the control plane", async () => {
  await api.deploy("one");
  await prove("sold.example");
  await setRoutes("one", ["sold.example/*"]);
  const { clock, directory: dataDirectory, databaseUrl } = api;
  const place = { dataDirectory, databaseUrl, clock };
  expect(await takeDomain({ ...place, domain: "Sold.example" })).toBe(api.principal().account);
  await expect(takeDomain({ ...place, domain: "sold.example" })).rejects.toMatchObject({
    code: "domain_not_found",
  });
  await expect(takeDomain({ ...place, domain: "*" })).rejects.toMatchObject({
    code: "domain_invalid",
  });
  expect((await audited()).at(-1)).toBe("domain.release sold.example");
  await prove("sold.example", "theirs");
  expect((await audited()).at(-1)).toBe("route.release one by another");
});

describe("hosts of routes: ", () => {
  beforeEach(async () => {
    await api.deploy("one");
    await api.deploy("far", {}, "theirs");
  });

  test("one that nobody proved is refused with how to prove it, for routes and custom domains", async () => {
    const before = await api.countRows();
    const route = await setRoutes("one", ["one.atoll.test/x", "*shop.example.com/*"]);
    expect(route).toMatchObject({ status: 403, errors: [{ code: 1_049 }] });
    expect(route.errors[0]?.message).toBe(
      "The host '*shop.example.com' is refused: your account has not proved that 'shop.example.com', or a domain above it, is its own. " +
        "Run 'atoll domain add shop.example.com', set the TXT record that it prints, and run 'atoll domain verify shop.example.com'.",
    );
    const records = "PUT A/workers/scripts/one/domains/records";
    const domain = await api.call(records, { origins: [{ hostname: "shop.example.com" }] });
    expect(domain).toMatchObject({ status: 403, errors: [{ code: 1_049 }] });
    await add("shop.example.com");
    expect((await setRoutes("one", ["shop.example.com/*"])).status).toBe(403);
    expect(await api.countRows()).toEqual({ ...before, audit: (before["audit"] ?? 0) + 1 });
    await prove("example.com");
    const proved = ["example.com/*", "*.example.com/api/*", "a.b.example.com/*"];
    expect((await setRoutes("one", proved)).status).toBe(200);
    const origins = [{ hostname: "shop.example.com" }];
    expect((await api.call(records, { origins })).status).toBe(200);
    expect((await setRoutes("one", [...proved, "notexample.com/"])).status).toBe(403);
    expect((await setRoutes("one", ["*.com/*"])).status).toBe(403);
  });

  test("one of another account is refused, whatever of it has routes", async () => {
    await prove("example.com", "theirs");
    await prove("shop.example.net", "theirs");
    await prove("example.net");
    const patterns = ["example.com/*", "free.example.com/x", "*.example.com/*"];
    for (const pattern of [...patterns, "a.shop.example.net/", "*.example.net/*"]) {
      const refused = await setRoutes("one", [pattern]);
      expect(refused, pattern).toMatchObject({ status: 409, errors: [{ code: 10_020 }] });
      expect(refused.errors[0]?.message).toContain("belongs to another account");
    }
    expect((await setRoutes("one", ["shopping.example.net/*", "example.net/*"])).status).toBe(200);
    expect((await setRoutes("far", ["*shop.example.net/*"], "theirs")).status).toBe(200);
  });

  test("a domain is released when nothing leads to its hosts by it any more", async () => {
    await prove("example.com");
    await prove("shop.example.com");
    await setRoutes("one", ["a.shop.example.com/*"]);
    expect((await release("shop.example.com")).status).toBe(200);
    const refused = await release("example.com");
    expect(refused).toMatchObject({ status: 409, errors: [{ code: 1_061 }] });
    expect(refused.errors[0]?.message).toContain("'a.shop.example.com/*' leads to 'one'");
    await setRoutes("one", []);
    expect((await release("example.com")).status).toBe(200);
    await prove("shop.example.com", "theirs");
  });

  test("unproved ones from before stay, and end when another account proves the domain", async () => {
    const patterns = ["*.example/*", "old.example.net/*", "shop.example/x", "*.atoll.test/*"];
    await insertRoutes("one", patterns);
    expect((await setRoutes("one", patterns)).status).toBe(200);
    expect((await setRoutes("one", [...patterns, "new.example.net/"])).status).toBe(403);
    const before = (await api.controlPlane.desiredState.snapshot()).revision;
    await prove("shop.example", "theirs");
    const { revision, workers } = await api.controlPlane.desiredState.snapshot();
    expect(revision).toBeGreaterThan(before);
    expect(workers.find(({ name }) => name === "one")?.routes).toEqual([
      ...["one.atoll.test/*", "*.atoll.test/*", "old.example.net/*"],
    ]);
    expect((await audited()).slice(-2)).toEqual([
      "route.release one by another",
      "route.release one by another",
    ]);
    expect((await audited("theirs")).at(-1)).toBe("domain.prove shop.example");
    expect((await setRoutes("far", ["*.shop.example/*"], "theirs")).status).toBe(200);
    expect((await setRoutes("one", ["*.atoll.test/*"])).status).toBe(200);
  });

  test("zones are the base domain and what is proved; any other name is told how to be one", async () => {
    await prove("example.com");
    await add("claimed.example");
    const names = async (query: string) =>
      (await api.call(`GET /zones${query}`)).result.map(({ name }: { name: string }) => name);
    expect(await names("")).toEqual(["atoll.test", "example.com"]);
    const { result: own } = await api.call("POST A/tokens", {
      ...{ name: "ci", role: "deployer", worker: "one" },
    });
    const narrow = { headers: { authorization: `Bearer ${own.value}` } };
    const seen = (await (await api.fetch("/zones", narrow)).json()) as { result: unknown };
    expect(seen.result).toMatchObject([{ name: "atoll.test" }]);
    expect((await api.fetch("/zones?name=example.com", narrow)).status).toBe(200);
    expect(await names("?per_page=1&page=2&account.id=x")).toEqual(["example.com"]);
    expect(await names("?name=Example.com.")).toEqual(["example.com"]);
    expect(await names("?name=shop.example.com")).toEqual([]);
    expect(await names("?name=any.atoll.test")).toEqual(["any.atoll.test"]);
    expect(await names("?name=a/b")).toEqual([]);
    for (const name of ["other.example", "claimed.example", "com"]) {
      const refused = await api.call(`GET /zones?name=${name}`);
      expect(refused).toMatchObject({ status: 403, errors: [{ code: 1_049 }] });
      expect(refused.errors[0]?.message).toContain(`atoll domain add ${name}`);
    }
    expect((await api.call("GET /zones?name=example.com", undefined, "theirs")).status).toBe(409);
  });
});
