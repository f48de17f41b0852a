import { z } from "zod";
import { LIMITS } from "../limits.ts";

/** A custom domain as wrangler's configuration names it. Its zone adds nothing and is ignored. */
const DomainRequest = z.object({
  hostname: z
    .string()
    .min(1)
    .max(253)
    .regex(/^[^/*]*$/, "a custom domain is a whole host, without a path or '*'"),
});
const Domains = z.array(DomainRequest).max(LIMITS.routesMax);

/** Body of `POST domains/changeset`. */
export const ChangesetRequest = Domains;

/** Body of `PUT domains/records`: all domains of the worker. */
export const RecordsRequest = z.object({
  origins: Domains,
  /** Whether the user agreed that a domain moves here from another worker. */
  override_existing_origin: z.boolean().optional(),
});
