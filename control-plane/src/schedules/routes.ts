import { Hono } from "hono";
import { limitBody, parseInput, readJson } from "../http/body.ts";
import { success } from "../http/envelope.ts";
import { allowAccount, allowWorker } from "../http/permissions.ts";
import type { ApiEnvironment } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";
import { targetOf } from "../workers/target.ts";
import { SchedulesQuery, SchedulesRequest, type StoredSchedule } from "./schemas.ts";
import type { SchedulesService } from "./service.ts";

const SCRIPT_SCHEDULES = "/accounts/:account/workers/scripts/:worker/schedules";

/** Schedules of a worker as wrangler sets them, and of an account with what became of them. */
export function createScheduleRoutes(schedules: SchedulesService): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();

  routes.get(SCRIPT_SCHEDULES, allowWorker("viewer"), async (context) => {
    const set = await schedules.list(targetOf(context));
    return context.json(success({ schedules: set.map(present) }));
  });

  const bound = limitBody(LIMITS.jsonBodyBytesMax);
  routes.put(SCRIPT_SCHEDULES, allowWorker("deployer"), bound, async (context) => {
    const wanted = await readJson(context, SchedulesRequest);
    const expressions = wanted.map(({ cron }) => cron);
    const set = await schedules.replace(targetOf(context), expressions);
    return context.json(success({ schedules: set.map(present) }));
  });

  routes.get("/accounts/:account/schedules", allowAccount("viewer"), async (context) => {
    const query = parseInput(SchedulesQuery, context.req.query(), "query");
    const described = await schedules.describe(context.var.principal, query);
    return context.json(success({ schedules: described }));
  });

  return routes;
}

/** A schedule is never changed, only replaced. */
function present({ cron, createdAt }: StoredSchedule): Readonly<Record<string, string>> {
  return { cron, created_on: createdAt, modified_on: createdAt };
}
