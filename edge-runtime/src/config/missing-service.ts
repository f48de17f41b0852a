import type { WorkerName } from "@atoll/control-plane/contract";
import { list, quote, struct, type Expression } from "./capnp-text.ts";

/**
 * The service behind a binding to a worker that is not there any more: every call of it, whatever it is, fails
 * with a sentence that says so. The worker that is bound to it runs all the same.
 */
export function missingService(options: {
  readonly name: string;
  readonly binding: string;
  readonly worker: WorkerName;
}): Expression {
  const { name, binding, worker } = options;
  const message = `The worker '${worker}', to which the binding '${binding}' leads, does not exist in this account. Deploy it first.`;
  const source = `import { WorkerEntrypoint } from "cloudflare:workers";
export default class extends WorkerEntrypoint {
  constructor(context, env) {
    super(context, env);
    throw new Error(${JSON.stringify(message)});
  }
}`;
  return struct({
    name: quote(name),
    worker: struct({
      modules: list([struct({ name: quote("missing.js"), esModule: quote(source) })]),
      compatibilityDate: quote("2026-04-01"),
    }),
  });
}
