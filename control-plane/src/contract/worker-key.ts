import { z } from "zod";

/** Names a worker across accounts: `<account>/<worker>`. */
export const WorkerKey = z.string().regex(/^[0-9a-f]{32}\/[a-z0-9_-]{1,63}$/);
export type WorkerKey = z.infer<typeof WorkerKey>;
