import { z } from "zod";
import { VersionId } from "../contract/index.ts";
import { LIMITS } from "../limits.ts";
import type { Annotations } from "../versions/schemas.ts";

/**
 * Which versions serve, with the percentage of requests each gets: 0 for one that only those requests reach
 * that ask for it. Stored ones add up to 100.
 */
export const DeployedVersions = z
  .array(z.object({ version_id: VersionId, percentage: z.number().min(0).max(100) }))
  .min(1)
  .max(2);
export type DeployedVersions = z.infer<typeof DeployedVersions>;

/** Body of `POST deployments`. Unknown fields are ignored: newer wranglers send more. */
export const DeploymentRequest = z.object({
  strategy: z.literal("percentage"),
  versions: DeployedVersions,
  annotations: z
    .object({ "workers/message": z.string().max(LIMITS.annotationCharactersMax).optional() })
    .optional(),
});
export type DeploymentRequest = z.infer<typeof DeploymentRequest>;

export interface Deployment {
  readonly id: string;
  /** Order within the worker: the highest is the active one. */
  readonly number: number;
  readonly createdAt: string;
  readonly versions: DeployedVersions;
  readonly annotations: Annotations;
}
