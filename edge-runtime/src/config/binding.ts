import type { Binding, Module } from "@atoll/control-plane/contract";
import { EdgeError } from "../errors.ts";
import { embed, quote, struct, type Expression } from "./capnp-text.ts";
import type { GroupMember } from "./group-config.ts";

type ServiceBinding = Extract<Binding, { type: "service" }>;

/** The services of a worker in the same cell: where its requests arrive, and its code itself. */
export interface WorkerServices {
  readonly front: string;
  readonly code: string;
  /** Modules alone can export entrypoints. */
  readonly hasEntrypoints: boolean;
  /** The worker, where nothing but the router of its static files stands in front of its code. */
  readonly routed?: GroupMember | undefined;
}

interface CalledWorker extends WorkerServices {
  readonly other?: WorkerServices & { readonly share: number };
}

/** What the bindings of one worker may refer to. */
export interface BindingScope {
  readonly member: GroupMember;
  readonly workerIndex: number;
  readonly fileOf: (blob: string) => string;
  /** A worker of the same account in the same cell, and the version beside it that is there to be called. */
  readonly findWorker: (name: string) => CalledWorker | undefined;
}

/** Name of the external service behind the KV binding at `position` of a worker's bindings. */
export function kvServiceName(workerIndex: number, position: number): string {
  return `w${workerIndex}-kv${position}`;
}

/** Name of the service behind the binding at `position` whose worker, or entrypoint of it, is not there. */
export function missingServiceName(workerIndex: number, position: number): string {
  return `w${workerIndex}-missing${position}`;
}

/** Name of the service behind the binding at `position` whose worker two versions serve. */
export function splitServiceName(workerIndex: number, position: number): string {
  return `w${workerIndex}-split${position}`;
}

/** Name of the router that hands the props of the binding at `position` to the code behind it. */
export function propsRouterName(workerIndex: number, position: number, code: string): string {
  return `w${workerIndex}-props${position}-${code}`;
}

/** Whether an entrypoint is another one than the default. */
export function isNamed(entrypoint: string | undefined): entrypoint is string {
  return entrypoint !== undefined && entrypoint !== "default";
}

/** Whether a binding names an entrypoint of a worker that can have none. */
export function lacksEntrypoint(
  { entrypoint }: ServiceBinding,
  { hasEntrypoints }: WorkerServices,
): boolean {
  return isNamed(entrypoint) && !hasEntrypoints;
}

/** The props for a worker's code that the router in front of it would keep to itself. */
export function propsBehindRouter(
  binding: ServiceBinding,
  { routed }: WorkerServices,
): Expression | undefined {
  return routed === undefined || isNamed(binding.entrypoint) ? undefined : propsOf(binding);
}

function propsOf({ props }: ServiceBinding): Expression | undefined {
  return props === undefined ? undefined : struct({ json: quote(JSON.stringify(props)) });
}

/** One entry of a worker's `env`. Throws `config_invalid` when it names what is not there. */
export function bindingExpression(
  binding: Binding,
  position: number,
  scope: BindingScope,
): Expression {
  return struct({ name: quote(binding.name), ...value(binding, position, scope) });
}

function value(
  binding: Binding,
  position: number,
  scope: BindingScope,
): Readonly<Record<string, Expression>> {
  switch (binding.type) {
    case "plain_text":
      return { text: quote(binding.text) };
    case "json":
      return { json: quote(JSON.stringify(binding.json)) };
    case "secret_text":
      return { text: quote(secret(binding.name, scope)) };
    case "kv_namespace":
      return {
        [binding.raw === true ? "service" : "kvNamespace"]: quote(
          kvServiceName(scope.workerIndex, position),
        ),
      };
    case "service":
      return { service: service(binding, position, scope) };
    case "assets":
      return { service: assets(binding.name, scope) };
    case "version_metadata":
      return { json: quote(JSON.stringify(versionMetadata(scope))) };
    case "wasm_module":
      return { wasmModule: embed(scope.fileOf(part(binding, scope).blob)) };
    case "text_blob":
      return { text: embed(scope.fileOf(part(binding, scope).blob)) };
    case "data_blob":
      return { data: embed(scope.fileOf(part(binding, scope).blob)) };
    default:
      return assertNever(binding);
  }
}

function secret(name: string, scope: BindingScope): string {
  const { secrets } = scope.member;
  // `hasOwn`, because a secret may be called like a property of every object, such as `toString`.
  const text = Object.hasOwn(secrets, name) ? secrets[name] : undefined;
  if (text === undefined) throw invalid(scope, `its secret ${name} has no value`);
  return text;
}

function service(binding: ServiceBinding, position: number, scope: BindingScope): Expression {
  const { workerIndex } = scope;
  const target = scope.findWorker(binding.service);
  if (target === undefined) return quote(missingServiceName(workerIndex, position));
  if (target.other !== undefined) return quote(splitServiceName(workerIndex, position));
  return serviceExpression(binding, target, { workerIndex, position });
}

/** Where the binding at `position` leads. */
export function serviceExpression(
  binding: ServiceBinding,
  target: WorkerServices,
  { workerIndex, position }: { readonly workerIndex: number; readonly position: number },
): Expression {
  if (lacksEntrypoint(binding, target)) return quote(missingServiceName(workerIndex, position));
  if (propsBehindRouter(binding, target) !== undefined) {
    return quote(propsRouterName(workerIndex, position, target.code));
  }
  // The default entrypoint includes the static files in front of the code; a named one is the code's.
  const { entrypoint } = binding;
  return struct({
    name: quote(isNamed(entrypoint) ? target.code : target.front),
    entrypoint: isNamed(entrypoint) ? quote(entrypoint) : undefined,
    props: propsOf(binding),
  });
}

function assets(name: string, scope: BindingScope): Expression {
  if (scope.member.version.assets === undefined) {
    throw invalid(scope, `${name} binds static files, and there are none`);
  }
  return struct({ name: quote(`w${scope.workerIndex}`), entrypoint: quote("AssetWorker") });
}

function versionMetadata(scope: BindingScope): object {
  const { id, tag, createdAt } = scope.member.version;
  return { id, tag: tag ?? "", timestamp: createdAt };
}

function part(
  binding: { readonly name: string; readonly part: string },
  scope: BindingScope,
): Module {
  const { code } = scope.member.version;
  const parts = code.kind === "service-worker" ? code.parts : [];
  const found = parts.find((module) => module.name === binding.part);
  if (found === undefined) throw invalid(scope, `${binding.name} binds no part ${binding.part}`);
  return found;
}

function assertNever(binding: never): never {
  throw new TypeError(`no such binding: ${JSON.stringify(binding)}`);
}

function invalid(scope: BindingScope, why: string): EdgeError {
  const { key, version } = scope.member;
  return new EdgeError("config_invalid", `${key}, version ${version.id}: ${why}`);
}
