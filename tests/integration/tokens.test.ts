import { afterAll, beforeAll, expect, test } from "vitest";
import {
  EVERYDAY_RELEASES,
  startAtoll,
  type TestAtoll,
  type WranglerRelease,
} from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { copyFixture, type TestProject } from "../support/project.ts";
import { accountPath } from "../support/refusal.ts";
import { TailProcess } from "../support/tail-process.ts";
import { upload } from "../support/upload.ts";

let atoll: TestAtoll;
let echo: TestProject;
let namespace: string;
beforeAll(async () => {
  atoll = await startAtoll();
  echo = await copyFixture("echo");
  const answer = await atoll.api(accountPath(atoll, "/storage/kv/namespaces"), {
    method: "POST",
    body: JSON.stringify({ title: "visits" }),
  });
  namespace = (JSON.parse(answer.body) as { result: { id: string } }).result.id;
}, 120_000);
afterAll(async () => {
  await echo.remove();
  await atoll.stop();
});

interface Made {
  readonly id: string;
  readonly value: string;
}

async function make(name: string, ...options: ReadonlyArray<string>): Promise<Made> {
  const made = await atoll.atoll(["token", "create", name, ...options, "--json"]);
  expect(made.exitCode, made.output).toBe(0);
  return JSON.parse(made.output) as Made;
}

/** Runs wrangler with another token than the operator's. */
function wranglerWith(token: Made, release: WranglerRelease, ...command: ReadonlyArray<string>) {
  const environment = { CLOUDFLARE_API_TOKEN: token.value };
  return atoll.wrangler(echo.directory, command, { release, environment });
}

test("token: is made, listed, used and revoked by the command", async () => {
  const shown = await atoll.atoll(["token", "create", "shown", "--role", "viewer"]);
  expect(shown.output).toMatch(/viewer of the account\.[^]*CLOUDFLARE_API_TOKEN=atoll_/);
  const made = await make("build server", "--role", "deployer", "--expires", "90d");
  const authorization = `Bearer ${made.value}`;
  const path = accountPath(atoll, "/workers/scripts");
  expect((await atoll.api(path, { headers: { authorization } })).status).toBe(200);
  const list = await atoll.atoll(["token", "list"]);
  expect(list.output).toMatch(/build server.*deployer.*the account/);
  expect(list.output).not.toContain(made.value);
  const revoked = await atoll.atoll(["token", "revoke", made.id]);
  expect(revoked).toMatchObject({ exitCode: 0, output: `Revoked ${made.id}.\n` });
  expect((await atoll.api(path, { headers: { authorization } })).status).toBe(401);
  const again = await atoll.atoll(["token", "revoke", made.id]);
  expect(again).toMatchObject({ exitCode: 1, output: expect.stringContaining(made.id) });
}, 60_000);

test("audit: tells who made which token from where, and what the operator did to the fleet", async () => {
  const made = await make("told", "--role", "viewer");
  const told = await atoll.atoll(["audit", "--action", "token", "--subject", made.id, "--json"]);
  expect(JSON.parse(told.output)).toMatchObject([
    {
      ...{ action: "token.create", subject: made.id, address: "127.0.0.1", before: null },
      after: { name: "told", role: "viewer" },
    },
  ]);
  expect(told.output).not.toContain(made.value);
  const shown = await atoll.atoll(["audit", "--limit", "5", "--since", "1h"]);
  expect(shown.output).toMatch(/token\.create/);
  const folder = `${atoll.dataDirectory}/control-plane`;
  const fleet = await atoll.atoll(["audit", "--data", folder, "--action", "node"]);
  expect(fleet.output).toMatch(/node\.enrol.*fra/);
  const refused = await atoll.atoll(["audit", "--limit", "1001"]);
  expect(refused).toMatchObject({ exitCode: 1 });
}, 60_000);

test.each([
  [["create", "x"], "--role"],
  [["create", "x", "--role", "owner"], "Allowed choices are viewer, deployer, admin"],
  [["create", "x", "--role", "viewer", "--expires", "0s"], "It is a date to come"],
  [["create", "x", "--role", "viewer", "--worker", "a", "--namespace", "b"], "cannot be used with"],
  [["create", "x", "--role", "admin", "--worker", "a"], "viewer's or deployer's"],
  [["create", "x", "--role", "viewer", "--namespace", "no such"], "namespace"],
])("token: %j is refused in a sentence", async (command, message) => {
  const { exitCode, output } = await atoll.atoll(["token", ...command]);
  expect(exitCode).toBe(1);
  expect(output).toContain(message);
  expect(output).not.toMatch(/\n\s+at /);
});

test.each(EVERYDAY_RELEASES)(
  "wrangler %s: a viewer looks and does not deploy",
  async (release) => {
    const viewer = await make("viewer", "--role", "viewer");
    const deployed = await wranglerWith(viewer, release, "deploy");
    expect(deployed.exitCode).not.toBe(0);
    expect(deployed.output).toContain("needs an API token with the role deployer");
    expect(deployed.output).not.toMatch(/\n\s+at .*control-plane/);
    const whoami = await wranglerWith(viewer, release, "whoami");
    expect(whoami.exitCode, whoami.output).toBe(0);
    expect((await wranglerWith(viewer, release, "kv", "namespace", "list")).output).toContain(
      "visits",
    );
  },
  120_000,
);

test.each(EVERYDAY_RELEASES)(
  "wrangler %s: a deployer deploys, and makes no tokens",
  async (release) => {
    const deployer = await make("deployer", "--role", "deployer");
    const deployed = await wranglerWith(deployer, release, "deploy");
    expect(deployed.exitCode, deployed.output).toBe(0);
    const answer = await atoll.api(accountPath(atoll, "/tokens"), {
      headers: { authorization: `Bearer ${deployer.value}` },
    });
    expect(answer).toMatchObject({ status: 403, body: expect.stringContaining("the role admin") });
  },
  120_000,
);

test.each(EVERYDAY_RELEASES)(
  "wrangler %s: one of a worker deploys it and puts its secrets, and no other",
  async (release) => {
    const own = await make("own", "--role", "deployer", "--worker", "echo");
    const deployed = await wranglerWith(own, release, "deploy");
    expect(deployed.exitCode, deployed.output).toBe(0);
    const secret = await atoll.wrangler(echo.directory, ["secret", "put", "KEY"], {
      ...{ release, input: "hush" },
      environment: { CLOUDFLARE_API_TOKEN: own.value },
    });
    expect(secret.exitCode, secret.output).toBe(0);
    const other = await wranglerWith(own, release, "deploy", "--name", "other");
    expect(other.exitCode).not.toBe(0);
    expect(other.output).toContain("the API token is for the worker 'echo' alone");
    const keys = await wranglerWith(own, release, ...keyList());
    expect(keys.output).toContain("the API token is for the worker 'echo' alone");
  },
  120_000,
);

test.each(EVERYDAY_RELEASES)(
  "wrangler %s: one of a namespace writes its keys alone",
  async (release) => {
    const own = await make("keys", "--role", "deployer", "--namespace", "visits");
    const put = ["kv", "key", "put", "k", "v", "--namespace-id", namespace, "--remote"];
    expect((await wranglerWith(own, release, ...put)).exitCode).toBe(0);
    const list = await wranglerWith(own, release, ...keyList());
    expect(list.output).toContain('"k"');
    const deployed = await wranglerWith(own, release, "deploy");
    expect(deployed.exitCode).not.toBe(0);
    expect(deployed.output).toContain(`the API token is for the KV namespace ${namespace} alone`);
  },
  120_000,
);

test.each(EVERYDAY_RELEASES)(
  "wrangler %s: a tail ends with the token that it was opened with",
  async (release) => {
    const source = `export default { fetch: () => new Response("watched") };`;
    expect((await upload(atoll, { name: "watched", source })).status).toBe(200);
    const own = await make("watcher", "--role", "deployer");
    const variables = { ...atoll.variables, CLOUDFLARE_API_TOKEN: own.value };
    const flags = ["--format", "pretty"];
    const watching = new TailProcess(
      { ...atoll, variables },
      { worker: "watched", release, flags },
    );
    await watching.connected();
    const tails = async () => {
      const path = accountPath(atoll, "/workers/scripts/watched/tails");
      const { body } = await atoll.api(path);
      return (JSON.parse(body) as { readonly result: ReadonlyArray<unknown> }).result.length;
    };
    expect(await tails()).toBe(1);
    const path = accountPath(atoll, `/tokens/${own.id}`);
    expect((await atoll.api(path, { method: "DELETE" })).status).toBe(200);
    await eventually(async () => (await tails()) === 0, {
      what: "the tail ends",
      deadlineMs: 5_000,
    });
    await eventually(() => watching.hasEnded, { what: "wrangler ends by itself" });
  },
  60_000,
);

function keyList(): ReadonlyArray<string> {
  return ["kv", "key", "list", "--namespace-id", namespace, "--remote"];
}
