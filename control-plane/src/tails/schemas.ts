import { z } from "zod";
import { TailFilters } from "../contract/index.ts";

/** Body of `POST tails`, which wrangler sends as `text/plain`. */
export const TailRequest = z.strictObject({ filters: TailFilters.default([]) });
export type TailRequest = z.infer<typeof TailRequest>;
