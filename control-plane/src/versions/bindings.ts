import assert from "node:assert/strict";
import type {
  AccountId,
  Assets,
  Binding,
  Code,
  SecretValues,
  Version,
  WorkerName,
} from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { AwaitedServices } from "./awaited-services.ts";
import {
  boundServiceNotFound,
  namespaceNotFound,
  type RequestedBindings,
} from "./binding-requests.ts";

/** A version's bindings with the values of its secrets. */
export interface BoundValues {
  readonly bindings: ReadonlyArray<Binding>;
  readonly secrets: SecretValues;
}

/** Deploys never delete secrets: without a word from wrangler they are kept. */
const KEPT_BY_DEFAULT: ReadonlyArray<string> = ["secret_text", "secret_key"];

/**
 * Adds to what an upload asks for what it takes over from the version before: `inherit` by name, and
 * every binding of a kept type whose name is still free. Throws `inherit_invalid` when there is nothing
 * to inherit.
 */
export function resolveBindings(options: {
  readonly requested: RequestedBindings;
  readonly previous: BoundValues | undefined;
  readonly keptTypes: ReadonlyArray<string> | null | undefined;
}): BoundValues {
  const { requested, previous } = options;
  const keptTypes = options.keptTypes ?? KEPT_BY_DEFAULT;
  const earlier = previous?.bindings ?? [];
  const inherited = requested.inherited.map((name) => {
    const found = earlier.find((binding) => binding.name === name);
    if (found !== undefined) return found;
    // wrangler recognises this sentence and names the secrets that are required and missing.
    throw new ControlPlaneError(
      "inherit_invalid",
      `inherit binding '${name}' is invalid: the previous version has no binding of this name`,
    );
  });
  const own = [...requested.bindings, ...inherited];
  const names = new Set(own.map(({ name }) => name));
  const kept = earlier.filter(({ type, name }) => keptTypes.includes(type) && !names.has(name));
  const takenOver = [...inherited, ...kept].filter(({ type }) => type === "secret_text");
  const secrets = { ...requested.secrets };
  for (const { name } of takenOver) {
    const value = previous?.secrets[name];
    assert(value !== undefined, `the secret '${name}' was stored without a value`);
    secrets[name] = value;
  }
  return { bindings: [...own, ...kept], secrets };
}

/** Refuses bindings to what does not exist: a namespace, a worker, a file of the upload, assets. */
export async function checkBindings(options: {
  readonly bindings: ReadonlyArray<Binding>;
  readonly code: Code;
  readonly assets: Assets | undefined;
  readonly account: AccountId;
  readonly worker: WorkerName;
  readonly database: Database | Transaction;
  /** Makes an exception for who waits for this worker, and remembers for whom this one waits. */
  readonly awaited?: AwaitedServices;
}): Promise<void> {
  for (const binding of options.bindings) {
    switch (binding.type) {
      case "kv_namespace":
        if (await namespaceExists(options, binding.namespace_id)) break;
        throw namespaceNotFound(binding.name, binding.namespace_id);
      case "service":
        await checkService(options, binding);
        break;
      case "assets":
        if (options.assets !== undefined) break;
        throw new ControlPlaneError(
          "invalid_binding",
          `The binding '${binding.name}' is for assets, but the upload has none`,
        );
      case "wasm_module":
      case "text_blob":
      case "data_blob":
        checkPart(options.code, binding);
        break;
      default:
        break;
    }
  }
}

async function checkService(
  scope: {
    readonly database: Database | Transaction;
    readonly account: AccountId;
    readonly worker: WorkerName;
    readonly awaited?: AwaitedServices;
  },
  { name, service }: Extract<Binding, { type: "service" }>,
): Promise<void> {
  const { account, worker, awaited } = scope;
  if (service === worker || (await workerExists(scope, service))) return;
  if (awaited?.has({ account, worker: service, missing: worker }) === true) return;
  awaited?.note({ account, worker, missing: service });
  throw boundServiceNotFound(name, service);
}

function checkPart(code: Code, binding: { readonly name: string; readonly part: string }): void {
  if (code.kind !== "service-worker") {
    throw new ControlPlaneError(
      "invalid_binding",
      `The binding '${binding.name}' is for the service-worker format: ES modules import their files`,
    );
  }
  if (code.parts.some(({ name }) => name === binding.part)) return;
  throw new ControlPlaneError(
    "invalid_binding",
    `The binding '${binding.name}' names the part '${binding.part}', which is not in the upload`,
  );
}

async function namespaceExists(
  scope: { readonly database: Database | Transaction; readonly account: AccountId },
  id: string,
): Promise<boolean> {
  const row = await scope.database
    .selectFrom("kv_namespaces")
    .select("id")
    .where("account_id", "=", scope.account)
    .where("id", "=", id)
    .executeTakeFirst();
  return row !== undefined;
}

async function workerExists(
  scope: { readonly database: Database | Transaction; readonly account: AccountId },
  name: string,
): Promise<boolean> {
  const row = await scope.database
    .selectFrom("workers")
    .select("id")
    .where("account_id", "=", scope.account)
    .where("name", "=", name)
    .executeTakeFirst();
  return row !== undefined;
}

/** Those that are set and those that are kept from before, together. Who has more from an earlier release may have fewer. */
export function refuseTooManyBindings(
  { length: count }: Version["bindings"],
  earlier: Version["bindings"] = [],
): void {
  const { bindingsMax } = LIMITS;
  if (count <= Math.max(bindingsMax, earlier.length)) return;
  throw new ControlPlaneError(
    "invalid_binding",
    `The version would have ${count} bindings, secrets included, and the limit is ${bindingsMax}: delete some first`,
  );
}
