import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { openMasterKeyRotation } from "../secrets/open-master-key-rotation.ts";
import { ControlPlaneApi, uploadForm } from "../test-support/control-plane-api.ts";
import { bundleOf, PagesSite } from "../test-support/pages-site.ts";
import { TokenRequest } from "../tokens/schemas.ts";

let api: ControlPlaneApi;
let site: PagesSite;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
  site = new PagesSite(api, "blog");
});
afterEach(() => api.close());

const patch = (environment: "production" | "preview", variables: object) => ({
  deployment_configs: { [environment]: { env_vars: variables } },
});

async function projectRows(): Promise<unknown> {
  const { database } = api.controlPlane;
  const [projects, secrets] = await Promise.all([
    database.selectFrom("pages_projects").selectAll().execute(),
    database.selectFrom("pages_secrets").selectAll().execute(),
  ]);
  return { ...(await api.countRows()), projects: projects.length, secrets: secrets.length };
}

describe("pages projects: ", () => {
  test("are made, listed and shown, and their host answers at once", async () => {
    const { result } = await site.create();
    expect(result).toMatchObject({
      name: "blog",
      production_branch: "main",
      subdomain: "blog.atoll.test:4401",
      domains: ["blog.atoll.test:4401"],
      source: null,
      latest_deployment: null,
      deployment_configs: {
        // What the runtime knows, not the day, which is later.
        production: { compatibility_date: "2026-11-17", compatibility_flags: [], env_vars: {} },
        preview: { compatibility_date: "2026-11-17" },
      },
    });
    expect((await api.call(`GET ${site.path}`)).result).toEqual(result);
    expect((await api.call("GET A/pages/projects?per_page=10&page=1")).result).toEqual([result]);
    expect((await api.call("GET A/pages/projects?per_page=10&page=2")).result).toEqual([]);
    expect((await api.call(`GET ${site.path}/deployments`)).result).toEqual([]);
    const { workers } = await api.controlPlane.desiredState.snapshot();
    expect(workers).toMatchObject([{ name: "blog", routes: ["blog.atoll.test/*"] }]);
    const actions = (await api.call("GET A/audit")).result as ReadonlyArray<{ action: string }>;
    expect(actions.map(({ action }) => action)).toContain("pages.create");
  });

  test("are listed as each is shown, with its newest deployment and its own secrets", async () => {
    const secret = { S: { type: "secret_text", value: "v" } };
    const docs = new PagesSite(api, "docs");
    await site.create();
    await docs.create();
    await new PagesSite(api, "empty").create();
    await api.call(`PATCH ${docs.path}`, patch("preview", secret));
    for (const branch of ["main", "draft"]) {
      expect((await site.deploy({}, { branch })).status).toBe(200);
    }
    expect((await docs.deploy({}, { branch: "main" })).status).toBe(200);
    const listed = (await api.call("GET A/pages/projects")).result as ReadonlyArray<{
      readonly name: string;
    }>;
    expect(listed.map(({ name }) => name)).toEqual(["blog", "docs", "empty"]);
    for (const project of listed) {
      expect((await api.call(`GET A/pages/projects/${project.name}`)).result).toEqual(project);
    }
    const variables = (preview: object): object => ({
      deployment_configs: { production: { env_vars: {} }, preview: { env_vars: preview } },
    });
    const hidden = { S: { type: "secret_text", value: "" } };
    const served = { aliases: ["http://docs.atoll.test:4401"] };
    expect(listed).toMatchObject([
      { ...variables({}), latest_deployment: { environment: "preview" } },
      { ...variables(hidden), latest_deployment: served },
      { ...variables({}), latest_deployment: null },
    ]);
    const [blog, , empty] = listed.map((project) => JSON.stringify(project));
    expect(`${blog}${empty}`).not.toContain("secret_text");
  });

  test("take the settings that they are made with", async () => {
    const production = { compatibility_flags: ["nodejs_compat"], compatibility_date: "2026-02-03" };
    const { result } = await site.create({ deployment_configs: { production } });
    expect(result.deployment_configs.production).toMatchObject(production);
    expect(result.deployment_configs.preview.compatibility_flags).toEqual([]);
  });

  test("are gone with everything that is theirs", async () => {
    const empty = await projectRows();
    await site.create();
    await api.call(
      `PATCH ${site.path}`,
      patch("production", { S: { type: "secret_text", value: "v" } }),
    );
    expect(await api.call(`DELETE ${site.path}`)).toMatchObject({ success: true, result: null });
    expect(await projectRows()).toMatchObject({
      ...(empty as object),
      state_changes: expect.any(Number),
      audit: expect.any(Number),
    });
    const again = await api.call(`DELETE ${site.path}`);
    expect(again).toMatchObject({ status: 404, errors: [{ code: 8_000_007 }] });
  });

  test("have names of their own, and other workers have theirs", async () => {
    await site.create();
    await api.deploy("worker");
    const theirs = new PagesSite(api, "blog", "theirs");
    const before = await projectRows();
    for (const [taken, code] of [
      [await site.create(), 8_000_002],
      [await new PagesSite(api, "worker").create(), 8_000_002],
      [await theirs.create(), 10_040],
    ] as const) {
      expect(taken).toMatchObject({ status: 409, errors: [{ code }] });
    }
    const secret = { name: "S", text: "v", type: "secret_text" };
    for (const refused of [
      await api.deploy("blog"),
      await api.call("POST A/workers/scripts/blog/versions", uploadForm({})),
      await api.call("PUT A/workers/scripts/blog/secrets", secret),
    ]) {
      expect(refused).toMatchObject({ status: 409, errors: [{ code: 10_040 }] });
      expect(refused.errors[0]?.message).toContain("wrangler pages deploy");
    }
    expect(await projectRows()).toEqual(before);
  });

  test("count as workers, and refuse what is no name or setting", async () => {
    const before = await projectRows();
    const wrong = [
      { name: "Blog" },
      { name: "a_b" },
      { name: "-a" },
      { name: "a".repeat(55) },
      { production_branch: "" },
      { deployment_configs: { production: { kv_namespaces: {} } } },
      { deployment_configs: { production: { compatibility_date: "2031-01-01" } } },
      { deployment_configs: { preview: { env_vars: { A: { type: "json", value: "1" } } } } },
    ];
    for (const more of wrong) expect((await site.create(more)).status).toBe(400);
    expect(await projectRows()).toEqual(before);
    const { id } = api.tenants.ours.account;
    await api.controlPlane.accounts.configure(id, { quota: { workersMax: 1 } });
    expect((await new PagesSite(api, "a".repeat(54)).create()).status).toBe(200);
    expect((await site.create()).errors[0]?.code).toBe(10_037);
  });

  test("are another account's in no way", async () => {
    await site.create();
    for (const line of [
      `GET ${site.path}`,
      `PATCH ${site.path}`,
      `DELETE ${site.path}`,
      `GET ${site.path}/upload-token`,
      `GET ${site.path}/deployments`,
      `GET A/pages/projects/${encodeURIComponent("../x")}`,
    ]) {
      const body = line.startsWith("PATCH") ? {} : undefined;
      const answer = await api.call(line, body, "theirs");
      expect(answer).toMatchObject({ status: 404, errors: [{ code: 8_000_007 }] });
    }
    expect((await api.call("GET A/pages/projects", undefined, "theirs")).result).toEqual([]);
  });

  test("are reached by a token of their worker, and by none that may only look", async () => {
    await site.create();
    await new PagesSite(api, "other").create();
    const { tokens } = api.controlPlane;
    const asked = async (grant: object, path: string): Promise<number> => {
      const request = TokenRequest.parse({ name: "test", ...grant });
      const { value } = await tokens.create(api.principal(), request);
      return (await api.fetch(path, { headers: { authorization: `Bearer ${value}` } })).status;
    };
    const token = `${site.path}/upload-token`;
    expect(await asked({ role: "deployer", worker: "blog" }, token)).toBe(200);
    expect(await asked({ role: "deployer", worker: "other" }, token)).toBe(403);
    expect(await asked({ role: "viewer" }, token)).toBe(403);
    expect(await asked({ role: "viewer" }, site.path)).toBe(200);
  });
});

describe("secrets of pages: ", () => {
  const secret = (value: string) => ({ type: "secret_text", value });

  /** The values that the newest deployment has. */
  async function deployed(branch: string): Promise<unknown> {
    const bundle = await bundleOf();
    const { result } = await site.deploy({}, { "_worker.bundle": bundle, branch });
    expect(result).toMatchObject({ environment: branch === "main" ? "production" : "preview" });
    return api.preflight.candidates.at(-1)?.secrets;
  }

  test("are of an environment, shown without values, and in what is deployed from then on", async () => {
    await site.create();
    await api.call(
      `PATCH ${site.path}`,
      patch("production", { A: secret("one"), B: secret("two") }),
    );
    await api.call(`PATCH ${site.path}`, patch("preview", { A: secret("other") }));
    const { result } = await api.call(`PATCH ${site.path}`, patch("production", { B: null }));
    const { production, preview } = result.deployment_configs;
    expect(production.env_vars).toEqual({ A: { type: "secret_text", value: "" } });
    expect(preview.env_vars).toEqual({ A: { type: "secret_text", value: "" } });
    expect(await deployed("main")).toEqual({ A: "one" });
    expect(await deployed("next")).toEqual({ A: "other" });
    const variable = { A: { type: "plain_text", value: "plain" } };
    await api.call(`PATCH ${site.path}`, patch("production", variable));
    expect(await deployed("main")).toEqual({});
    const version = api.preflight.candidates.at(-1)?.version;
    expect(version?.bindings).toContainEqual({ type: "plain_text", name: "A", text: "plain" });
  });

  test("are sealed, in no record of the trail, and open after the master key was replaced", async () => {
    await site.create();
    await api.call(`PATCH ${site.path}`, patch("production", { A: secret("hush-hush") }));
    const { database } = api.controlPlane;
    const tables = await Promise.all(
      (["pages_secrets", "pages_projects", "audit"] as const).map((table) =>
        database.selectFrom(table).selectAll().execute(),
      ),
    );
    expect(JSON.stringify(tables)).not.toContain("hush-hush");
    const rotation = await openMasterKeyRotation({
      dataDirectory: api.directory,
      databaseUrl: api.databaseUrl,
      masterKey: undefined,
    });
    // One secret, and two keys of the installation.
    expect(await rotation.rotate()).toMatchObject({ kind: "rotated", records: 3 });
    await rotation.close();
    expect(await deployed("main")).toEqual({ A: "hush-hush" });
  });

  test("are bounded together, however many changes bring them", async () => {
    const many = (type: string, count: number): Record<string, unknown> =>
      Object.fromEntries(
        Array.from({ length: count }, (_, index) => [`${type}${index}`, { type, value: "x" }]),
      );
    await site.create();
    const half = LIMITS.bindingsMax / 2;
    const set = (variables: object) => api.call(`PATCH ${site.path}`, patch("preview", variables));
    expect((await set(many("plain_text", half))).status).toBe(200);
    expect((await set(many("secret_text", half))).status).toBe(200);
    const before = await projectRows();
    const refused = await set({ ONE: { type: "plain_text", value: "x" } });
    expect(refused).toMatchObject({ status: 400, errors: [{ code: 10_021 }] });
    expect(refused.errors[0]?.message).toContain(`${LIMITS.bindingsMax + 1} variables and secrets`);
    expect(await projectRows()).toEqual(before);
    expect((await set({ secret_text0: null })).status).toBe(200);
  });

  test("leave a name to the configuration file, which may not say it again", async () => {
    await site.create();
    await api.call(`PATCH ${site.path}`, patch("production", { A: secret("one") }));
    const bindings = [{ type: "plain_text", name: "A", text: "two" }];
    const refused = await site.deploy({}, { "_worker.bundle": await bundleOf({ bindings }) });
    expect(refused).toMatchObject({ status: 400, errors: [{ code: 10_021 }] });
    expect(refused.errors[0]?.message).toContain("Two bindings are named 'A'");
  });
});
