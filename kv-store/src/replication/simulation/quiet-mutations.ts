import type { Mutation } from "./mutations.ts";

const LOG_AGING = "origin/log-aging.ts";

/** Bugs that show only after hours or days: no dense seed, and no ordinary one, finds any of them. */
export const QUIET_MUTATIONS: ReadonlyArray<Mutation> = [
  {
    name: "the age of records is counted by the monotonic clock",
    file: LOG_AGING,
    find: "const beforeMs = clock.nowMs() - ageMs;",
    replace: "const beforeMs = clock.monotonicMs() - ageMs;",
  },
  {
    name: "logs are cut at half their age",
    file: LOG_AGING,
    find: "const beforeMs = clock.nowMs() - ageMs;",
    replace: "const beforeMs = clock.nowMs() - ageMs / 2;",
  },
  {
    name: "logs are looked at for their age once",
    file: LOG_AGING,
    find: "this.#lookedMs = nowMs;",
    replace: "this.#lookedMs = Infinity;",
  },
  {
    name: "a log is cut by its age under those who copy the namespace",
    file: LOG_AGING,
    find: "const isTooEarly = isHeld(row.namespace as NamespaceId);",
    replace: "const isTooEarly = isHeld(row.namespace as NamespaceId) && ageMs < 0;",
  },
  {
    name: "what has expired while a node was away for hours is shown again",
    file: "replica/origin-time.ts",
    find: "if (seconds <= this.#reached) return;",
    replace: "if (seconds <= this.#reached || seconds > this.#reached + 3_600) return;",
  },
  {
    name: "a node that has run for a day is no longer understood",
    file: "replication/messages.ts",
    find: "const EchoMs = z.number().nonnegative();",
    replace: "const EchoMs = z.number().nonnegative().max(86_400_000);",
  },
];
