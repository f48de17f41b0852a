import type { Binding } from "../contract/index.ts";
import { ControlPlaneError } from "../errors.ts";
import type { Principal } from "../http/request-context.ts";

/**
 * A token of one worker deploys that worker, and through it could use whatever the worker binds: so it may
 * keep what the newest version binds of the account, and add nothing. Throws `scope_exceeded`.
 */
export function refuseNewReach(
  { scope }: Principal,
  bindings: ReadonlyArray<Binding>,
  earlier: ReadonlyArray<Binding>,
): void {
  if (scope.kind !== "worker") return;
  const known = new Set([undefined, ...earlier.map(reachOf)]);
  const added = bindings.find((binding) => {
    const isItself = binding.type === "service" && binding.service === scope.worker;
    return !isItself && !known.has(reachOf(binding));
  });
  if (added === undefined) return;
  throw new ControlPlaneError(
    "scope_exceeded",
    `Authentication error: the API token is for the worker '${scope.worker}' alone, so it can't give it the new binding '${added.name}' to something else of the account: deploy that once with a token of the account`,
  );
}

/** What of the account a binding opens; `undefined` when that is nothing. */
function reachOf(binding: Binding): string | undefined {
  if (binding.type === "kv_namespace") return `namespace ${binding.namespace_id}`;
  if (binding.type !== "service") return undefined;
  // Another entrypoint may do more, and what `props` say is for the callee to trust.
  const { service, entrypoint, props } = binding;
  return `service ${service} ${JSON.stringify([entrypoint, props])}`;
}
