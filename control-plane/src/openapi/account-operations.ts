import { z } from "zod";
import { AuditQuery, AuditRecord } from "../audit/schemas.ts";
import { ScheduleStatus, SchedulesQuery } from "../schedules/schemas.ts";
import { CreatedToken, ListedToken, TokenRequest } from "../tokens/schemas.ts";
import { UsageQuery, WorkerUsage } from "../usage/schemas.ts";
import * as answers from "./answers.ts";
import { json, result, type Operations } from "./operation.ts";

const API = "/client/v4";
const ACCOUNT = `${API}/accounts/:account`;

/** Who calls, what the account has, and its zones. */
export const ACCOUNT_OPERATIONS: Operations = {
  [`GET ${API}/user`]: {
    summary: "Who the token is of: an account, and no person",
    answer: { kind: "refusal" },
    errors: ["user_unknown"],
  },
  [`GET ${API}/accounts`]: {
    summary: "The token's account",
    answer: result(z.array(answers.NamedThing.extend({ type: z.string() }))),
  },
  [`GET ${ACCOUNT}`]: { summary: "The account", answer: result(answers.NamedThing) },
  [`GET ${API}/memberships`]: {
    summary: "The token's account and role",
    answer: result(
      z.array(
        z.object({
          id: z.string(),
          status: z.string(),
          account: answers.NamedThing,
          roles: z.array(z.string()),
        }),
      ),
    ),
  },
  [`GET ${API}/user/tokens/verify`]: {
    summary:
      "Whether the token holds; it is of an account, which has an address of its own for that",
    answer: { kind: "refusal" },
    errors: ["token_not_personal"],
  },
  [`GET ${ACCOUNT}/tokens/verify`]: {
    summary: "Whether the token holds, and what for",
    answer: result(ListedToken.extend({ status: z.literal("active") })),
  },
  [`GET ${ACCOUNT}/tokens`]: {
    summary: "The account's API tokens",
    isOwn: true,
    answer: result(z.array(ListedToken)),
  },
  [`POST ${ACCOUNT}/tokens`]: {
    summary: "Makes an API token, which is told this once",
    isOwn: true,
    body: json(TokenRequest),
    answer: result(CreatedToken),
    errors: ["tokens_exceeded", "token_expired", "namespace_not_listed"],
  },
  [`DELETE ${ACCOUNT}/tokens/:token`]: {
    summary: "Ends an API token",
    isOwn: true,
    answer: result(z.object({ id: z.string() })),
    errors: ["token_not_found", "token_last_admin"],
  },
  [`GET ${ACCOUNT}/audit`]: {
    summary: "Who changed what of the account, the newest first",
    isOwn: true,
    query: AuditQuery,
    answer: result(z.array(AuditRecord)),
  },
  [`GET ${ACCOUNT}/usage`]: {
    summary: "What the account's workers used",
    isOwn: true,
    query: UsageQuery,
    answer: result(z.object({ from: z.string(), to: z.string(), workers: z.array(WorkerUsage) })),
  },
  [`GET ${ACCOUNT}/schedules`]: {
    summary: "The account's schedules, and what became of their latest occurrences",
    isOwn: true,
    query: SchedulesQuery,
    answer: result(z.object({ schedules: z.array(ScheduleStatus) })),
  },
  [`GET ${API}/zones`]: {
    summary: "The zone of a name: every domain name is one",
    query: z.object({ name: z.string().optional() }),
    answer: result(z.array(answers.Zone)),
  },
  [`GET ${API}/zones/:zone/workers/routes`]: {
    summary: "Routes of the account's workers in a zone",
    answer: result(z.array(z.object({ id: z.string(), pattern: z.string(), script: z.string() }))),
  },
};
