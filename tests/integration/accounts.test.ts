import { afterAll, beforeAll, expect, test } from "vitest";
import { ALL_RELEASES, startAtoll, type TestAtoll } from "../support/atoll.ts";
import { copyFixture, type TestProject } from "../support/project.ts";
import { accountPath, readRefusal, refused, refusedByWrangler } from "../support/refusal.ts";
import { asNewAccount } from "../support/second-account.ts";
import { serveEverywhere } from "../support/serving.ts";
import { upload } from "../support/upload.ts";

let atoll: TestAtoll;
/** The same Atoll with another account's token. */
let theirs: TestAtoll;
let project: TestProject;
let ourNamespace: string;
let theirNamespace: string;
beforeAll(async () => {
  atoll = await startAtoll();
  theirs = await asNewAccount(atoll);
  project = await copyFixture("echo");
  ourNamespace = await createNamespace(atoll);
  theirNamespace = await createNamespace(theirs);
  await deploy(atoll, "ours", ourNamespace);
  await deploy(theirs, "theirs", theirNamespace);
});
afterAll(async () => {
  await project.remove();
  await atoll.stop();
});

async function createNamespace(owner: TestAtoll): Promise<string> {
  const answer = await owner.api(accountPath(owner, "/storage/kv/namespaces"), {
    method: "POST",
    body: JSON.stringify({ title: "same title in both" }),
  });
  expect(answer.status, answer.body).toBe(200);
  return (JSON.parse(answer.body) as { result: { id: string } }).result.id;
}

async function deploy(owner: TestAtoll, name: string, namespace: string): Promise<void> {
  const source = `export default { async fetch(request, env) {
    if (request.method === "PUT") await env.KV.put("key", "${name}");
    return new Response("${name} " + env.SECRET + " " + (await env.KV.get("key")));
  } };`;
  const bindings = [
    { type: "kv_namespace", name: "KV", namespace_id: namespace },
    { type: "secret_text", name: "SECRET", text: `secret of ${name}` },
  ];
  const answer = await upload(owner, { name, source, metadata: { bindings } });
  expect(answer.status, answer.body).toBe(200);
  await serveEverywhere(owner, name, ({ body }) => body.startsWith(name));
}

/** Every address that wrangler calls, with our worker and our namespace. */
function ourAddresses(): ReadonlyArray<readonly [method: string, path: string]> {
  const script = "/workers/scripts/ours";
  const keys = `/storage/kv/namespaces/${ourNamespace}`;
  return [
    ["GET", "/workers/scripts"],
    ["GET", "/workers/services/ours"],
    ["DELETE", "/workers/services/ours?force=true"],
    ["PUT", script],
    ["DELETE", script],
    ["GET", `${script}/settings`],
    ["PATCH", `${script}/settings`],
    ["GET", `${script}/script-settings`],
    ["PATCH", `${script}/script-settings`],
    ["GET", `${script}/references`],
    ["GET", `${script}/versions`],
    ["POST", `${script}/versions`],
    ["GET", `${script}/versions/latest`],
    ["GET", `${script}/content/v2`],
    ["GET", `${script}/deployments`],
    ["POST", `${script}/deployments`],
    ["GET", `${script}/secrets`],
    ["PUT", `${script}/secrets`],
    ["DELETE", `${script}/secrets/SECRET`],
    ["PATCH", `${script}/secrets-bulk`],
    ["PATCH", "/workers/workers/ours/versions/latest"],
    ["GET", "/workers/workers/ours"],
    ["GET", `${script}/subdomain`],
    ["POST", `${script}/subdomain`],
    ["GET", "/workers/subdomain"],
    ["PUT", `${script}/routes`],
    ["POST", `${script}/domains/changeset`],
    ["PUT", `${script}/domains/records`],
    ["GET", "/workers/domains/records"],
    ["GET", `${script}/schedules`],
    ["PUT", `${script}/schedules`],
    ["GET", "/schedules"],
    ["POST", `${script}/assets-upload-session`],
    ["GET", "/storage/kv/namespaces"],
    ["POST", "/storage/kv/namespaces"],
    ["GET", keys],
    ["PUT", keys],
    ["DELETE", keys],
    ["GET", `${keys}/keys`],
    ["GET", `${keys}/values/key`],
    ["PUT", `${keys}/values/key`],
    ["DELETE", `${keys}/values/key`],
    ["GET", `${keys}/metadata/key`],
    ["PUT", `${keys}/bulk`],
    ["POST", `${keys}/bulk/get`],
    ["DELETE", `${keys}/bulk`],
  ];
}

test("no address answers without a token, or to one that nobody was given", async () => {
  const id = `atoll_${"0".repeat(16)}_${"a".repeat(43)}`;
  const token = atoll.variables["CLOUDFLARE_API_TOKEN"] ?? "";
  const altered = token.slice(0, -1) + (token.endsWith("A") ? "B" : "A");
  const wrong = ["", "Bearer ", `Bearer ${id}`, `Bearer ${altered}`, token, `Basic ${token}`];
  const general = ["/user", "/user/tokens/verify", "/accounts", "/memberships", "/zones"];
  const addresses = [
    ...general.map((path) => ["GET", path] as const),
    ...ourAddresses().map(([method, path]) => [method, accountPath(atoll, path)] as const),
  ];
  for (const [index, [method, path]] of addresses.entries()) {
    const authorization = wrong[index % wrong.length] ?? "";
    const answer = await atoll.api(path, { method, headers: { authorization } });
    const refusal = readRefusal(answer);
    // What `whoami` asks is refused by another number, on which wrangler does not ask who it is again.
    const code = general.includes(path) ? [9_109, 10_000] : [10_000];
    expect(code, `${method} ${path}`).toContain(refusal.code);
    expect(refusal).toMatchObject({
      status: 401,
      message: expect.stringContaining("the API token is missing or wrong") as string,
    });
  }
  const status = await fetch(`${atoll.url}/console/status`);
  expect(status.status).toBe(401);
});

test("no address of an account answers to the token of another", async () => {
  const call = async (method: string, path: string): Promise<void> => {
    const answer = await theirs.api(accountPath(atoll, path), { method });
    const refusal = readRefusal(answer);
    expect(refusal, `${method} ${path}`).toMatchObject({ status: 403, code: 10_000 });
    expect(refusal.message).toContain(`'${atoll.variables["CLOUDFLARE_ACCOUNT_ID"]}'`);
  };
  const last = await refused(atoll, async () => {
    for (const [method, path] of ourAddresses()) await call(method, path);
    return theirs.api(accountPath(atoll, "/workers/scripts"));
  });
  expect(last.status).toBe(403);
});

test("under its own id an account finds nothing of another's", async () => {
  const found = async (path: string): Promise<string> =>
    (await theirs.api(accountPath(theirs, path))).body;
  const lists = ["/workers/scripts", "/storage/kv/namespaces", "/workers/domains/records"];
  for (const path of lists) expect(await found(path)).not.toContain("ours");
  expect(await found("/storage/kv/namespaces")).toContain(theirNamespace);
  expect(await found("/storage/kv/namespaces")).not.toContain(ourNamespace);

  const missing = ourAddresses().filter(([, path]) => path.includes("ours") && /GET/.test(path));
  for (const [method, path] of missing) {
    const answer = await theirs.api(accountPath(theirs, path), { method });
    expect(readRefusal(answer).status, path).toBe(404);
  }
  const key = await theirs.api(
    accountPath(theirs, `/storage/kv/namespaces/${ourNamespace}/values/key`),
  );
  expect(readRefusal(key)).toMatchObject({ status: 404, code: 10_013 });
});

test("nothing of another account can be bound, taken over or deleted", async () => {
  const source = "export default { fetch: () => new Response('evil') };";
  const attempt = (name: string, binding?: unknown) =>
    refused(atoll, () =>
      upload(theirs, {
        name,
        source,
        ...(binding === undefined ? {} : { metadata: { bindings: [binding] } }),
      }),
    );
  const namespace = { type: "kv_namespace", name: "KV", namespace_id: ourNamespace };
  expect(await attempt("evil", namespace)).toMatchObject({ status: 404, code: 10_041 });
  const service = { type: "service", name: "OURS", service: "ours" };
  expect(await attempt("evil", service)).toMatchObject({ status: 400, code: 10_143 });
  const taken = await attempt("ours");
  expect(taken).toMatchObject({ status: 409, code: 10_040 });
  expect(taken.message).toContain("ours.localhost belongs to another account");

  const change = (method: string, path: string, body?: unknown) =>
    refused(atoll, () =>
      theirs.api(accountPath(theirs, path), {
        method,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      }),
    );
  const deleted = await change("DELETE", "/workers/services/ours?force=true");
  expect(deleted).toMatchObject({ status: 404, code: 10_007 });
  const renamed = await change("PUT", `/storage/kv/namespaces/${ourNamespace}`, { title: "x" });
  expect(renamed.status).toBe(404);
  const routes = ["ours.localhost/*", "ours.localhost/login", "OURS.localhost/*"];
  for (const pattern of routes) {
    const refusal = await change("PUT", "/workers/scripts/theirs/routes", [{ pattern }]);
    expect(refusal, pattern).toMatchObject({ status: 409, code: 10_020 });
    expect(refusal.message).toContain("another account");
  }
  expect((await atoll.get("fra", "ours.localhost", "/")).body).toBe("ours secret of ours null");
});

test("a wildcard of one account does not reach the host of another's worker", async () => {
  const setRoutes = (owner: TestAtoll, name: string, ...patterns: string[]) =>
    owner.api(accountPath(owner, `/workers/scripts/${name}/routes`), {
      method: "PUT",
      body: JSON.stringify(patterns.map((pattern) => ({ pattern }))),
    });
  // What nobody has is for the first account alone to take.
  expect((await setRoutes(theirs, "theirs", "*.localhost/*")).status).toBe(409);
  expect((await setRoutes(atoll, "ours", "*.localhost/*")).status).toBe(200);
  expect((await setRoutes(theirs, "theirs", "*ours.localhost/*")).status).toBe(200);
  await serveEverywhere(atoll, "nobody", ({ body }) => body.startsWith("ours"));
  await serveEverywhere(atoll, "below.ours", ({ body }) => body.startsWith("theirs"));
  expect((await atoll.get("nrt", "ours.localhost", "/any/path")).body).toMatch(/^ours /);
  expect((await atoll.get("nrt", "theirs.localhost", "/any/path")).body).toMatch(/^theirs /);
  expect((await setRoutes(atoll, "ours")).status).toBe(200);
  expect((await setRoutes(theirs, "theirs")).status).toBe(200);
  await serveEverywhere(atoll, "nobody", ({ status }) => status === 404);
});

test("workers of two accounts share no namespace and no cell", async () => {
  await atoll.get("iad", "theirs.localhost", "/", { method: "PUT" });
  const ours = await atoll.get("iad", "ours.localhost", "/");
  const their = await atoll.get("iad", "theirs.localhost", "/");
  expect(ours.body).toBe("ours secret of ours null");
  expect(their.body).toBe("theirs secret of theirs theirs");
  const { output } = await atoll.atoll(["status", "--json"]);
  const { nodes } = JSON.parse(output) as {
    nodes: ReadonlyArray<{ cells: ReadonlyArray<{ workers: ReadonlyArray<string> }> }>;
  };
  for (const { workers } of nodes.flatMap(({ cells }) => cells)) {
    expect(new Set(workers.map((worker) => worker.split("/")[0])).size).toBe(1);
  }
});

test.each(ALL_RELEASES)(
  "wrangler %s says what is wrong with a token or an account",
  async (release) => {
    const attempt = (environment: Readonly<Record<string, string>>, ...command: string[]) =>
      refusedByWrangler(atoll, () =>
        atoll.wrangler(project.directory, command, { release, environment }),
      );
    const [wrong, foreign, missing] = await Promise.all([
      attempt({ CLOUDFLARE_API_TOKEN: "wrong" }, "deploy"),
      attempt({ CLOUDFLARE_ACCOUNT_ID: theirs.variables["CLOUDFLARE_ACCOUNT_ID"] ?? "" }, "deploy"),
      attempt({ CLOUDFLARE_API_TOKEN: "" }, "kv", "namespace", "list"),
    ]);
    expect(wrong).toContain("the API token is missing or wrong");
    expect(wrong).toContain("10000");
    expect(foreign).toContain(
      `the API token is not of account '${theirs.variables["CLOUDFLARE_ACCOUNT_ID"]}'`,
    );
    expect(missing).toContain("CLOUDFLARE_API_TOKEN");
  },
);
