import { z } from "zod";
import { LIMITS } from "../limits.ts";

/** A domain in the form in which it is kept: `parseDomainName` makes it. */
export const DomainName = z.string().brand<"DomainName">();
export type DomainName = z.infer<typeof DomainName>;

/** Body of `POST /accounts/:account/domains`. */
export const DomainRequest = z.strictObject({
  domain: z.string().min(1).max(LIMITS.domainTextCharactersMax),
});

/** A domain of an account, as the API tells it. */
export const ListedDomain = z.object({
  domain: z.string(),
  status: z.enum(["pending", "proved"]),
  /** The record by which it is proved. Once it is, the record may go. */
  challenge: z.object({ type: z.literal("TXT"), name: z.string(), value: z.string() }),
  created_at: z.string(),
  /** When the claim ends unless it is proved; null once it is. */
  expires_at: z.string().nullable(),
  proved_at: z.string().nullable(),
});
export type ListedDomain = z.infer<typeof ListedDomain>;

/** Whether a route needs a host that its account has proved: with several accounts, always, or never. */
export type OwnershipRule = "auto" | "required" | "none";
