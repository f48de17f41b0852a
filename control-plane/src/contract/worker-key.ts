import { z } from "zod";

/** Names a worker across accounts: `<account>/<worker>`, an `AccountId` and a `WorkerName`. */
export const WorkerKey = z
  .string()
  .regex(
    /^[0-9a-f]{32}\/[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$/,
    "a worker's key is <account>/<worker>",
  );
export type WorkerKey = z.infer<typeof WorkerKey>;
