import { z } from "zod";
import { type AccountId, WorkerName } from "../contract/index.ts";
import { BoundedJson } from "../http/bounded-json.ts";
import { LIMITS } from "../limits.ts";

/** Names a worker within an account. */
export interface WorkerAddress {
  readonly account: AccountId;
  readonly name: WorkerName;
}

/** A worker of the account whose `tail()` is called with what happens to another. */
const TailConsumer = z.strictObject({
  service: WorkerName,
  environment: z.literal("production").nullish(),
});
const TailConsumers = z.array(TailConsumer).max(LIMITS.tailConsumersMax);

/**
 * What belongs to a worker and not to one version of it. Tail consumers change what runs; the rest is kept
 * for wrangler to read back.
 */
export const ScriptSettings = z.object({
  tags: z.array(z.string().max(1_024)).max(100).optional(),
  logpush: z.boolean().optional(),
  observability: z.record(z.string(), BoundedJson).nullish(),
  tail_consumers: TailConsumers.nullish(),
});
export type ScriptSettings = z.infer<typeof ScriptSettings>;

/** Body of `PATCH script-settings`: only what is named changes. Unknown fields are ignored, as they are in uploads. */
export const ScriptSettingsPatch = ScriptSettings.extend({
  streaming_tail_consumers: z.array(z.unknown()).nullish(),
});
export type ScriptSettingsPatch = z.infer<typeof ScriptSettingsPatch>;

/** Body of `POST subdomain`. */
export const SubdomainSwitch = z.object({
  enabled: z.boolean(),
  previews_enabled: z.boolean().optional(),
});
export type SubdomainSwitch = z.infer<typeof SubdomainSwitch>;

export interface StoredWorker extends WorkerAddress {
  /** Never reused, unlike the name. */
  readonly id: string;
  readonly createdAt: string;
  readonly modifiedAt: string;
  readonly isOnSubdomain: boolean;
  readonly hasPreviews: boolean;
  readonly settings: ScriptSettings;
  /** Number of the newest version. */
  readonly versionNumber: number;
}
