import { z } from "zod";
import { AuditQuery, AuditRecord } from "../audit/schemas.ts";
import { DomainRequest, ListedDomain } from "../ownership/schemas.ts";
import { ZonesQuery } from "../routes/schemas.ts";
import { ScheduleStatus, SchedulesQuery } from "../schedules/schemas.ts";
import { CreatedToken, ListedToken, TokenRequest } from "../tokens/schemas.ts";
import { AccountDay } from "../usage/account-day.ts";
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
  [`GET ${ACCOUNT}/domains`]: {
    summary: "Domains that the account has proved, and those that it claims",
    isOwn: true,
    answer: result(z.array(ListedDomain)),
  },
  [`POST ${ACCOUNT}/domains`]: {
    summary: "Claims a domain; the answer has the TXT record that proves it",
    isOwn: true,
    body: json(DomainRequest),
    answer: result(ListedDomain),
    errors: ["domain_invalid", "domain_taken", "domains_exceeded"],
  },
  [`POST ${ACCOUNT}/domains/:domain/verify`]: {
    summary: "Looks for a claim's TXT record, with which the domain is the account's",
    isOwn: true,
    answer: result(ListedDomain),
    errors: [
      ...([
        "domain_invalid",
        "domain_not_found",
        "domain_taken",
        "domain_challenge_unmet",
      ] as const),
      ...(["domain_lookup_failed", "busy", "conflict"] as const),
    ],
  },
  [`DELETE ${ACCOUNT}/domains/:domain`]: {
    summary: "Gives up a domain or claim",
    isOwn: true,
    answer: result(z.object({ domain: z.string() })),
    errors: ["domain_invalid", "domain_not_found", "domain_in_use"],
  },
  [`GET ${ACCOUNT}/audit`]: {
    summary: "Who changed what of the account, the newest first",
    isOwn: true,
    query: AuditQuery,
    answer: result(z.array(AuditRecord)),
  },
  [`GET ${ACCOUNT}/usage`]: {
    summary: "What the account's workers used, and what it used today of what it may use on a day",
    isOwn: true,
    query: UsageQuery,
    answer: result(
      z.object({
        ...{ from: z.string(), to: z.string() },
        workers: z.array(WorkerUsage),
        today: AccountDay,
      }),
    ),
  },
  [`GET ${ACCOUNT}/schedules`]: {
    summary: "The account's schedules, and what became of their latest occurrences",
    isOwn: true,
    query: SchedulesQuery,
    answer: result(z.object({ schedules: z.array(ScheduleStatus) })),
  },
  [`GET ${API}/zones`]: {
    summary: "The base domain and the domains that the account has proved, or the one of a name",
    query: ZonesQuery,
    answer: result(z.array(answers.Zone)),
    errors: ["route_conflict", "domain_unproved"],
  },
  [`GET ${API}/zones/:zone/workers/routes`]: {
    summary: "Routes of the account's workers in a zone",
    answer: result(z.array(z.object({ id: z.string(), pattern: z.string(), script: z.string() }))),
  },
};
