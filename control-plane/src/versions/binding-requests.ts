import { z } from "zod";
import { NamespaceId } from "@atoll/kv-store";
import { WorkerName, type Binding, type SecretValues } from "../contract/index.ts";
import { ControlPlaneError } from "../errors.ts";
import { describeIssue } from "../http/body.ts";
import { BoundedJson } from "../http/bounded-json.ts";
import { LIMITS } from "../limits.ts";

/** What an upload asks to find in `env`: bindings of its own, and names to take over from before. */
export interface RequestedBindings {
  readonly bindings: ReadonlyArray<Binding>;
  readonly secrets: SecretValues;
  readonly inherited: ReadonlyArray<string>;
}

export const BindingName = z
  .string()
  .min(1)
  .max(255)
  // Half of a surrogate pair would be stored as another character, and its secret found under no name.
  .regex(/^[^\p{Cc}\p{Cs}]*$/u, "a binding's name is valid Unicode and holds no control characters")
  // As a key of an object it would set what the object inherits from, and vanish.
  .refine((name) => name !== "__proto__", { error: "'__proto__' cannot be the name of a binding" });
export const BindingText = boundedText(LIMITS.bindingTextBytesMax);

/** Fields that say "as usual": accepted with that value, and refused with any other. */
const ordinaryEnvironment = z.literal("production").optional();

/** Every type that is understood. Strict, because a field that is dropped silently changes what runs. */
const REQUESTS = {
  inherit: z.strictObject({ type: z.literal("inherit"), name: BindingName }),
  plain_text: z.strictObject({
    type: z.literal("plain_text"),
    name: BindingName,
    text: BindingText,
  }),
  json: z.strictObject({
    type: z.literal("json"),
    name: BindingName,
    json: BoundedJson.refine((json) => JSON.stringify(json).length <= LIMITS.bindingJsonBytesMax, {
      error: `longer than ${LIMITS.bindingJsonBytesMax} characters as JSON`,
    }),
  }),
  secret_text: z.strictObject({
    type: z.literal("secret_text"),
    name: BindingName,
    text: BindingText,
  }),
  kv_namespace: z.strictObject({
    type: z.literal("kv_namespace"),
    name: BindingName,
    namespace_id: z.string(),
    raw: z.boolean().optional(),
  }),
  service: z.strictObject({
    type: z.literal("service"),
    name: BindingName,
    service: z.string(),
    environment: ordinaryEnvironment,
    entrypoint: z.string().min(1).max(255).optional(),
    props: BoundedJson.optional(),
  }),
  assets: z.strictObject({ type: z.literal("assets"), name: BindingName }),
  version_metadata: z.strictObject({ type: z.literal("version_metadata"), name: BindingName }),
  wasm_module: z.strictObject({
    type: z.literal("wasm_module"),
    name: BindingName,
    part: z.string(),
  }),
  text_blob: z.strictObject({ type: z.literal("text_blob"), name: BindingName, part: z.string() }),
  data_blob: z.strictObject({ type: z.literal("data_blob"), name: BindingName, part: z.string() }),
} as const;

/** Any of them, for documents. Uploads are parsed type by type, so that errors name the binding. */
export const BindingRequest = z.union(Object.values(REQUESTS));
type BindingRequest = z.infer<typeof BindingRequest>;

/** Parses the `bindings` of an upload. Every type that Atoll does not have yet is refused by its name. */
export function parseBindings(requests: ReadonlyArray<unknown>): RequestedBindings {
  refuseUnsupportedTypes(requests);
  const bindings: Binding[] = [];
  const secrets: SecretValues = {};
  const inherited: string[] = [];
  const names = new Set<string>();
  for (const input of requests) {
    const request = parseRequest(input);
    if (names.has(request.name)) {
      throw new ControlPlaneError("invalid_binding", `Two bindings are named '${request.name}'`);
    }
    names.add(request.name);
    if (request.type === "inherit") inherited.push(request.name);
    else bindings.push(toBinding(request));
    if (request.type === "secret_text") secrets[request.name] = request.text;
  }
  return { bindings, secrets, inherited };
}

function refuseUnsupportedTypes(requests: ReadonlyArray<unknown>): void {
  const Named = z.object({ type: z.string(), name: z.string().optional() });
  const unsupported = requests.flatMap((input) => {
    const { data } = Named.safeParse(input);
    return data === undefined || Object.hasOwn(REQUESTS, data.type) ? [] : [data];
  });
  if (unsupported.length === 0) return;
  const list = unsupported.map(({ type, name }) => `'${name ?? ""}' of type '${type}'`).join(", ");
  throw new ControlPlaneError(
    "unsupported_binding",
    `Atoll does not support these bindings yet: ${list}. Nothing was changed.`,
  );
}

function parseRequest(input: unknown): BindingRequest {
  const type = z.object({ type: z.string() }).safeParse(input).data?.type ?? "";
  const schema = Object.hasOwn(REQUESTS, type)
    ? REQUESTS[type as keyof typeof REQUESTS]
    : undefined;
  const parsed = schema?.safeParse(input);
  if (parsed?.success) return parsed.data;
  const name = z.object({ name: z.string() }).safeParse(input).data?.name ?? "";
  const what = `binding '${name}' of type '${type}'`;
  const reason =
    parsed === undefined
      ? `${what}: a binding needs a type and a name`
      : describeIssue(parsed.error, what);
  throw new ControlPlaneError("invalid_binding", reason);
}

function toBinding(request: Exclude<BindingRequest, { type: "inherit" }>): Binding {
  switch (request.type) {
    case "secret_text":
      return { type: "secret_text", name: request.name };
    case "kv_namespace": {
      const id = NamespaceId.safeParse(request.namespace_id);
      if (!id.success) throw namespaceNotFound(request.name, request.namespace_id);
      const { type, name, raw } = request;
      return { type, name, namespace_id: id.data, ...(raw === true ? { raw } : {}) };
    }
    case "service": {
      const service = WorkerName.safeParse(request.service);
      if (!service.success) throw boundServiceNotFound(request.name, request.service);
      const { environment: _ordinary, ...rest } = request;
      return { ...rest, service: service.data };
    }
    default:
      return request;
  }
}

export function namespaceNotFound(binding: string, id: string): ControlPlaneError {
  return new ControlPlaneError(
    "namespace_not_found",
    `KV namespace '${id.slice(0, 100)}' of the binding '${binding}' does not exist in this account`,
  );
}

export function boundServiceNotFound(binding: string, service: string): ControlPlaneError {
  return new ControlPlaneError(
    "bound_service_not_found",
    `Could not resolve service binding '${binding}': the worker '${service.slice(0, 100)}' does not exist in this account. Deploy it first.`,
  );
}

function boundedText(bytesMax: number) {
  return z.string().refine((text) => Buffer.byteLength(text) <= bytesMax, {
    error: `longer than ${bytesMax} bytes`,
  });
}
