import { z } from "zod";
import { list, quote, struct, type Expression } from "./capnp-text.ts";

/** What a trigger is sent. */
export interface TriggerCall {
  readonly cron: string;
  readonly scheduledMs: number;
}

/** What a trigger answers when `scheduled()` and all that it waited for has ended. */
export const TriggerAnswer = z.object({ outcome: z.string(), noRetry: z.boolean() });
export type TriggerAnswer = z.infer<typeof TriggerAnswer>;

// workerd takes HTTP from outside and nothing else: this makes an event of a request. Only the node reaches
// the socket in front of it, and the worker that it calls can neither see nor reach it.
const SCRIPT = `export default {
  async fetch(request, { worker }) {
    const { cron, scheduledMs } = await request.json();
    const { outcome, noRetry } = await worker.scheduled({ cron, scheduledTime: new Date(scheduledMs) });
    return Response.json({ outcome, noRetry });
  },
};`;

/** The service that calls a worker's `scheduled()` for each request. */
export function triggerService(options: {
  readonly name: string;
  /** Name of the service with the worker's code. */
  readonly worker: string;
}): Expression {
  const { name, worker } = options;
  return struct({
    name: quote(name),
    worker: struct({
      modules: list([struct({ name: quote("trigger.js"), esModule: quote(SCRIPT) })]),
      compatibilityDate: quote("2026-04-01"),
      // Gives bindings of services their `scheduled()`.
      compatibilityFlags: list([quote("service_binding_extra_handlers")]),
      bindings: list([struct({ name: quote("worker"), service: quote(worker) })]),
    }),
  });
}
