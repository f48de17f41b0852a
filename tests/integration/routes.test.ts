import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  REGIONS,
  startAtoll,
  EVERYDAY_RELEASES,
  type Answer,
  type CommandResult,
  type TestAtoll,
  type WranglerRelease,
} from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { createProject } from "../support/project.ts";
import { accountPath, readStatus, refused } from "../support/refusal.ts";
import { serveEverywhere } from "../support/serving.ts";
import { removeWorker, upload } from "../support/upload.ts";

let atoll: TestAtoll;
beforeAll(async () => {
  atoll = await startAtoll();
});
afterAll(() => atoll.stop());

function sourceOf(name: string): string {
  return `export default { fetch: (request) => new Response("${name} " + new URL(request.url).pathname) };`;
}

/** Deploys a worker that answers with its name and the path, by a wrangler with this configuration. */
async function deploy(
  release: WranglerRelease,
  name: string,
  config: Readonly<Record<string, unknown>>,
): Promise<CommandResult> {
  const settings = { name, main: "index.js", compatibility_date: "2026-06-01" };
  const project = await createProject({
    "index.js": sourceOf(name),
    "wrangler.json": JSON.stringify({ ...settings, ...config }),
  });
  const result = await atoll.wrangler(project.directory, ["deploy"], { release });
  await project.remove();
  return result;
}

/** Waits until every region answers so. */
async function answersEverywhere(host: string, path: string, body: string): Promise<void> {
  for (const region of REGIONS) {
    await eventually(async () => (await atoll.get(region, host, path)).body === body, {
      what: `${host}${path} answers '${body}' in ${region}`,
    });
  }
}

function putRoutes(name: string, ...patterns: ReadonlyArray<unknown>): Promise<Answer> {
  return atoll.api(accountPath(atoll, `/workers/scripts/${name}/routes`), {
    method: "PUT",
    body: JSON.stringify(patterns.map((pattern) => ({ pattern }))),
  });
}

async function uploadWorker(name: string): Promise<void> {
  const answer = await upload(atoll, { name, source: sourceOf(name) });
  expect(answer.status, answer.body).toBe(200);
}

test("routes that wrangler deploys lead to workers, the most specific first", async () => {
  const zone = "shop.example";
  const deployed: ReadonlyArray<readonly [WranglerRelease, string, ReadonlyArray<unknown>]> = [
    ["4.164", "all", [{ pattern: `${zone}/*`, zone_name: zone }]],
    ["4.86", "sub", [{ pattern: `*.${zone}/*`, zone_name: zone }]],
    ["4.164", "api", [`${zone}/api/*`, { pattern: `*${zone}/static/*`, zone_name: zone }]],
    ["4.86", "one", [`${zone}/api/health`, `deep.${zone}/*`]],
  ];
  for (const [release, name, routes] of deployed) {
    const { exitCode, output } = await deploy(release, name, { routes });
    expect(exitCode, output).toBe(0);
    expect(output).toContain(`${zone}/`);
  }
  const table: ReadonlyArray<readonly [host: string, path: string, worker: string]> = [
    [zone, "/", "all"],
    [zone, "/apifoo", "all"],
    [zone, "/API/x", "all"],
    [zone, "/api/x", "api"],
    [zone, "/api/healthy", "api"],
    [zone, "/api/health", "one"],
    [zone, "/other/../api/x", "api"],
    [zone.toUpperCase(), "/api/x", "api"],
    [`${zone}.`, "/api/x", "api"],
    [`a.${zone}`, "/", "sub"],
    [`a.b.${zone}`, "/static/x", "sub"],
    [`deep.${zone}`, "/api/x", "one"],
    [zone, "/static/x", "all"],
  ];
  await answersEverywhere(`deep.${zone}`, "/", "one /");
  for (const [host, path, worker] of table) {
    const { body } = await atoll.get("fra", host, path);
    expect(body.split(" ")[0], `${host}${path}`).toBe(worker);
  }
  expect((await atoll.get("fra", `x${zone}`, "/")).status).toBe(404);
  // With routes and nothing said, wrangler takes a worker off its own host.
  for (const name of ["all", "sub"]) {
    expect((await atoll.get("fra", `${name}.localhost`, "/")).status).toBe(404);
  }
});

describe.each(EVERYDAY_RELEASES)("wrangler %s", (release) => {
  const tag = release.replace(".", "");

  test("a custom domain takes every path of its host", async () => {
    const host = `www.custom${tag}.example`;
    const name = `custom${tag}`;
    const config = { routes: [{ pattern: host, custom_domain: true }], workers_dev: true };
    const { exitCode, output } = await deploy(release, name, config);
    expect(exitCode, output).toBe(0);
    expect(output).toContain(host);
    await answersEverywhere(host, "/any/path", `${name} /any/path`);
    await answersEverywhere(`${name}.localhost`, "/", `${name} /`);
    expect((await atoll.get("iad", `custom${tag}.example`, "/")).status).toBe(404);
  });

  test("a route that another worker has stays there, and wrangler says whose it is", async () => {
    const pattern = `taken${tag}.example/*`;
    await uploadWorker(`first${tag}`);
    expect((await putRoutes(`first${tag}`, pattern)).status).toBe(200);
    const { exitCode, output } = await deploy(release, `second${tag}`, { routes: [pattern] });
    expect(exitCode, output).toBe(1);
    expect(output).toContain(pattern);
    expect(output).toContain(`first${tag}`);
    await answersEverywhere(`taken${tag}.example`, "/", `first${tag} /`);
  });

  test("a pattern that is none is refused by what is wrong with it", async () => {
    const { exitCode, output } = await deploy(release, `bad${tag}`, {
      routes: [`bad${tag}.example/*/more`],
    });
    expect(exitCode, output).toBe(1);
    expect(output).toContain(`bad${tag}.example/*/more`);
    expect(output).toContain("only as its last character");
    expect((await atoll.get("fra", `bad${tag}.example`, "/x/more")).status).toBe(404);
  });
});

test("an unknown host gets a plain page that says so, in every region", async () => {
  for (const region of REGIONS) {
    const plain = await atoll.get(region, "nobody.localhost", "/some/path");
    expect(plain.status).toBe(404);
    expect(plain.headers["content-type"]).toBe("text/plain; charset=utf-8");
    expect(plain.headers["cf-ray"]).toMatch(new RegExp(`-${region}$`));
    expect(plain.headers["cache-control"]).toContain("no-store");
    expect(plain.body).toContain("No worker is routed at this host and path");
    expect(plain.body).toContain("host: nobody.localhost");
  }
  const page = await atoll.get("fra", "nobody.localhost", "/", {
    headers: { accept: "text/html,*/*" },
  });
  expect(page.headers["content-type"]).toBe("text/html; charset=utf-8");
  expect(page.body).toContain("nobody.localhost");
});

const WORKER = "routed";

describe("bad routes", () => {
  beforeAll(async () => {
    await uploadWorker(WORKER);
    expect((await putRoutes(WORKER, "good.example/*")).status).toBe(200);
    await answersEverywhere("good.example", "/", `${WORKER} /`);
  });

  const PATTERNS: ReadonlyArray<readonly [pattern: unknown, message: RegExp]> = [
    ["", /0\.pattern: /],
    [7, /0\.pattern: .*expected string/],
    ["x".repeat(1_025), /0\.pattern: .*1024/],
    [" ", /' ' is no good/],
    ["*", /'\*' is not a host name/],
    ["*/*", /'\*' is not a host name/],
    ["/path", /'' is not a host name/],
    ["two words.example/", /'two words\.example' is not a host name/],
    ["münchen.example/", /'münchen\.example' is not a host name/],
    ["a..example/", /'a\.\.example' is not a host name/],
    ["-a.example/", /'-a\.example' is not a host name/],
    [`${"a".repeat(64)}.example/`, /is not a host name/],
    [`${"a.".repeat(130)}example/`, /at most 253 characters/],
    ["user@a.example/", /is not a host name/],
    ["a.*.example/", /'\*' only as its first character/],
    ["**.example/", /'\*' only as its first character/],
    ["a.example:8080/", /a host has no port/],
    ["[::1]/", /a host has no port/],
    ["a.example/*/b", /'\*' only as its last character/],
    ["a.example/**", /'\*' only as its last character/],
    ["a.example/?q=1", /no '\?' and no '#'/],
    ["a.example/#f", /no '\?' and no '#'/],
    ["a.example/a b", /no spaces/],
    ["a.example/é*", /percent-encoded/],
    ["a.example/\0", /no spaces/],
  ];
  test.each(
    PATTERNS.map(([pattern, message]) => ({
      title: JSON.stringify(pattern).slice(0, 40),
      pattern,
      message,
    })),
  )("the pattern $title is refused with its rule", async ({ pattern, message }) => {
    // Beside a good one: a set of routes is taken whole or not at all.
    const refusal = await refused(atoll, () => putRoutes(WORKER, "other.example/*", pattern));
    expect(refusal.status).toBe(400);
    expect([10_001, 10_022]).toContain(refusal.code);
    expect(refusal.message.replace("1.pattern", "0.pattern")).toMatch(message);
  });

  test("no list, too long a list, and routes of no worker are refused", async () => {
    const send = (name: string, body: unknown) =>
      refused(atoll, () =>
        atoll.api(accountPath(atoll, `/workers/scripts/${name}/routes`), {
          method: "PUT",
          body: typeof body === "string" ? body : JSON.stringify(body),
        }),
      );
    expect((await send(WORKER, "[")).message).toContain("not JSON");
    expect((await send(WORKER, { pattern: "a.example/*" })).message).toMatch(/expected array/);
    const many = Array.from({ length: 1_001 }, (_, index) => ({ pattern: `a${index}.example/` }));
    expect((await send(WORKER, many)).message).toMatch(/1000/);
    const missing = await send("nobody", [{ pattern: "a.example/*" }]);
    expect(missing).toMatchObject({ status: 404, code: 10_007 });
  });

  test("domains that are none are refused", async () => {
    for (const hostname of ["", "a b.example", "a.example/x", "a.example:80", "*.example", 7]) {
      const refusal = await refused(atoll, () =>
        atoll.api(accountPath(atoll, `/workers/scripts/${WORKER}/domains/records`), {
          method: "PUT",
          body: JSON.stringify({ override_scope: true, origins: [{ hostname }] }),
        }),
      );
      expect(refusal.status, String(hostname)).toBe(400);
    }
  });

  test("a worker's own host is nobody else's", async () => {
    await uploadWorker("neighbour");
    const whole = await refused(atoll, () => putRoutes("neighbour", `${WORKER}.localhost/*`));
    expect(whole).toMatchObject({ status: 409, code: 10_020 });
    expect(whole.message).toContain(`'${WORKER}.localhost/*' leads to '${WORKER}'`);
    const same = await refused(atoll, () => putRoutes("neighbour", "GOOD.example/*"));
    expect(same).toMatchObject({ status: 409, code: 10_020 });
    expect(same.message).toContain(`'good.example/*' leads to '${WORKER}'`);
  });

  test("after all of that the routes are what they were, and nodes follow the next change", async () => {
    expect((await atoll.get("nrt", "good.example", "/x")).body).toBe(`${WORKER} /x`);
    await uploadWorker("afterwards");
    await serveEverywhere(atoll, "afterwards", ({ status }) => status === 200);
    const { nodes } = await readStatus(atoll);
    expect(nodes.map(({ connected, failures }) => ({ connected, failures }))).toEqual(
      REGIONS.map(() => ({ connected: true, failures: [] })),
    );
  });
});

test("routes are replaced as a whole, and end with their worker", async () => {
  await uploadWorker("mover");
  expect((await putRoutes("mover", "one.example/*", "two.example/*")).status).toBe(200);
  await answersEverywhere("two.example", "/", "mover /");
  expect((await putRoutes("mover", "two.example/*", "three.example/*")).status).toBe(200);
  await answersEverywhere("three.example", "/", "mover /");
  expect((await atoll.get("fra", "two.example", "/")).body).toBe("mover /");
  for (const region of REGIONS) {
    expect((await atoll.get(region, "one.example", "/")).status).toBe(404);
  }
  expect((await removeWorker(atoll, "mover")).status).toBe(200);
  for (const region of REGIONS) {
    await eventually(async () => (await atoll.get(region, "two.example", "/")).status === 404, {
      what: `the routes of a removed worker are gone in ${region}`,
    });
  }
});
