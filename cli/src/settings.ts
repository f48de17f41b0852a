import { resolve } from "node:path";
import { z } from "zod";

/** The nodes of `atoll up`, in the order of their ports. */
export const LOCAL_REGIONS = ["iad", "fra", "nrt"] as const;

const Environment = z.object({
  ATOLL_DATA: z.string().min(1).default(".atoll"),
  ATOLL_PORT: z.coerce
    .number()
    .int()
    .min(1)
    .max(65_535 - LOCAL_REGIONS.length)
    .default(4400),
  ATOLL_DATABASE: z.string().optional(),
  ATOLL_BLOB_STORE: z.string().optional(),
  ATOLL_METRICS_PORT: z.coerce
    .number()
    .int()
    .min(1)
    .max(65_536 - LOCAL_REGIONS.length)
    .optional(),
});

/** What the environment says of an Atoll on this machine. */
export interface Settings {
  /** Absolute path of everything that is kept. */
  readonly dataDirectory: string;
  /** Address of the control plane's database, when it is not in a file. */
  readonly databaseUrl: string | undefined;
  /** Address of the bucket for blobs, when they are not in files. */
  readonly blobStore: string | undefined;
  /** The control plane's port; the nodes take the ones that follow it. */
  readonly port: number;
  /** Where the first node tells its metrics; the others take the ports that follow it. */
  readonly metricsPort: number | undefined;
}

/** Thrown for what the user can mend: shown as one message without a stack. */
export class UsageError extends Error {}

/** Parses the variables of `atoll up`. Throws a `UsageError` that names the variable and the rule. */
export function readSettings(environment: NodeJS.ProcessEnv): Settings {
  const parsed = Environment.safeParse(environment);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const name = String(issue?.path[0]);
    throw new UsageError(`${name}=${environment[name]} is no good: ${issue?.message}`);
  }
  return {
    dataDirectory: resolve(parsed.data.ATOLL_DATA),
    databaseUrl: parsed.data.ATOLL_DATABASE,
    blobStore: parsed.data.ATOLL_BLOB_STORE,
    port: parsed.data.ATOLL_PORT,
    metricsPort: parsed.data.ATOLL_METRICS_PORT,
  };
}
