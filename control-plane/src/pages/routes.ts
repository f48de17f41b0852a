import { Hono, type Context } from "hono";
import { WorkerName } from "../contract/index.ts";
import { bearerToken } from "../http/authentication.ts";
import { limitBody, parseInput, readJson } from "../http/body.ts";
import { success } from "../http/envelope.ts";
import { limitConcurrency } from "../http/gate.ts";
import { pageOf } from "../http/paging.ts";
import { allowAccount, allowWorker } from "../http/permissions.ts";
import type { ApiEnvironment } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";
import type { HostNames } from "../routes/host-names.ts";
import type { Target } from "../versions/service.ts";
import type { PagesAssets } from "./assets.ts";
import { readDeploymentForm } from "./deployment-form.ts";
import type { PagesDeployments } from "./deployments.ts";
import { PagesPresentation } from "./presentation.ts";
import { projectNotFound, type ProjectDetails, type ProjectsService } from "./projects.ts";
import { AnnouncedHashes, PageQuery, PagesFiles, ProjectPatch, ProjectRequest } from "./schemas.ts";

const PROJECTS = "/accounts/:account/pages/projects";
// A project is a worker: a token of that worker alone reaches it.
const PROJECT = `${PROJECTS}/:worker`;
const DEPLOYMENTS = `${PROJECT}/deployments`;

interface PagesParts {
  readonly projects: ProjectsService;
  readonly deployments: PagesDeployments;
  readonly assets: PagesAssets;
  readonly hostNames: HostNames;
}

/** Pages projects and their deployments. */
export function createPagesRoutes(parts: PagesParts): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  addProjects(routes, parts);
  addDeployments(routes, parts);
  return routes;
}

function addProjects(
  routes: Hono<ApiEnvironment>,
  { projects, deployments, hostNames }: PagesParts,
): void {
  const bound = limitBody(LIMITS.jsonBodyBytesMax);
  const presentation = new PagesPresentation(hostNames);
  const present = async (...shown: ReadonlyArray<ProjectDetails>) => {
    const latest = await deployments.latest(shown);
    return shown.map((project) => presentation.project(project, latest.get(project.worker.id)));
  };
  const presentOne = async (project: ProjectDetails) => (await present(project))[0];

  routes.get(PROJECTS, allowAccount("viewer"), async (context) => {
    const all = await projects.list(context.var.principal);
    const { items, info } = pageOf(all, queryOf(context));
    const result = await present(...(await projects.details(items)));
    return context.json(success(result, info));
  });

  routes.post(PROJECTS, allowAccount("deployer"), bound, async (context) => {
    const request = await readJson(context, ProjectRequest);
    const project = await projects.create(context.var.principal, request);
    return context.json(success(await presentOne(project)));
  });

  routes.get(PROJECT, allowWorker("viewer"), async (context) => {
    const project = await projects.get(targetOf(context));
    return context.json(success(await presentOne(project)));
  });

  routes.patch(PROJECT, allowWorker("deployer"), bound, async (context) => {
    const patch = await readJson(context, ProjectPatch);
    const project = await projects.patch(targetOf(context), patch);
    return context.json(success(await presentOne(project)));
  });

  routes.delete(PROJECT, allowWorker("deployer"), async (context) => {
    await projects.remove(targetOf(context));
    return context.json(success(null));
  });
}

function addDeployments(
  routes: Hono<ApiEnvironment>,
  { projects, deployments, assets, hostNames }: PagesParts,
): void {
  const presentation = new PagesPresentation(hostNames);
  const gate = limitConcurrency({
    inProgressMax: LIMITS.pagesDeploymentsMax,
    waitingMax: LIMITS.uploadsWaitingMax,
  });

  routes.get(`${PROJECT}/upload-token`, allowWorker("deployer"), async (context) => {
    const target = targetOf(context);
    await projects.get(target);
    return context.json(success({ jwt: await assets.issueToken(target) }));
  });

  routes.get(DEPLOYMENTS, allowWorker("viewer"), async (context) => {
    const query = queryOf(context);
    const { items, info } = pageOf(await deployments.list(targetOf(context), query.env), query);
    const result = items.map((deployment) => presentation.deployment(deployment));
    return context.json(success(result, info));
  });

  routes.post(
    DEPLOYMENTS,
    allowWorker("deployer"),
    gate,
    limitBody(LIMITS.uploadBytesMax),
    async (context) => {
      const form = await readDeploymentForm(context.req.raw);
      const created = await deployments.create(targetOf(context), form);
      return context.json(success(presentation.deployment(created)));
    },
  );

  routes.get(`${DEPLOYMENTS}/:deployment`, allowWorker("viewer"), async (context) => {
    const found = await deployments.get(targetOf(context), deploymentOf(context));
    return context.json(success(presentation.deployment(found)));
  });

  routes.delete(`${DEPLOYMENTS}/:deployment`, allowWorker("deployer"), async (context) => {
    const isForced = context.req.query("force") === "true";
    await deployments.remove(targetOf(context), deploymentOf(context), { isForced });
    return context.json(success(null));
  });
}

/** The files of deployments: these calls carry the upload's own token instead of an API token. */
export function createPagesAssetRoutes(assets: PagesAssets): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  const gate = limitConcurrency({
    inProgressMax: LIMITS.pagesUploadsMax,
    waitingMax: LIMITS.uploadsWaitingMax,
  });
  const bound = limitBody(LIMITS.jsonBodyBytesMax);
  const placeOf = (context: Context) =>
    assets.placeOf(bearerToken(context.req.header("authorization")) ?? "");

  routes.post("/pages/assets/check-missing", bound, async (context) => {
    const place = placeOf(context);
    const { hashes } = await readJson(context, AnnouncedHashes);
    return context.json(success(await assets.missing(place, hashes)));
  });

  routes.post(
    "/pages/assets/upload",
    gate,
    limitBody(LIMITS.pagesUploadBytesMax),
    async (context) => {
      const place = placeOf(context);
      await assets.stage(place, await readJson(context, PagesFiles));
      return context.json(success(null));
    },
  );

  // On Cloudflare it makes files known to later deployments; here the deployment that names them does.
  routes.post("/pages/assets/upsert-hashes", bound, async (context) => {
    const place = placeOf(context);
    const { hashes } = await readJson(context, AnnouncedHashes);
    await assets.missing(place, hashes);
    return context.json(success(null));
  });
  return routes;
}

/** Throws `pages_project_not_found` for what no project can be named: wrangler knows that code. */
function targetOf(context: Context<ApiEnvironment>): Target {
  const text = context.req.param("worker") ?? "";
  const name = WorkerName.safeParse(text);
  if (!name.success) throw projectNotFound(text);
  return { principal: context.var.principal, name: name.data };
}

function queryOf(context: Context) {
  return parseInput(PageQuery, context.req.query(), "query");
}

function deploymentOf(context: Context): string {
  return context.req.param("deployment") ?? "";
}
