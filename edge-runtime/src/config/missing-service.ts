import type { WorkerName } from "@atoll/control-plane/contract";
import { list, quote, struct, type Expression } from "./capnp-text.ts";

/**
 * The service behind a binding to a worker that is not there any more, or to an entrypoint of one that has no
 * modules to export it: every call of it, whatever it is, fails with a sentence that says so. The worker that is
 * bound to it runs all the same.
 */
export function missingService(options: {
  readonly name: string;
  readonly binding: string;
  readonly worker: WorkerName;
  /** The one that is missing, of a worker that is there. */
  readonly entrypoint?: string | undefined;
}): Expression {
  const { name, binding, worker, entrypoint } = options;
  const message =
    entrypoint === undefined
      ? `The worker '${worker}', to which the binding '${binding}' leads, does not exist in this account. Deploy it first.`
      : `The worker '${worker}' has no modules, and so no entrypoint '${entrypoint}', to which the binding '${binding}' leads.`;
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
