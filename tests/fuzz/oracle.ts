import { z } from "zod";
import type { ApiDocument, ApiResponse, Operation } from "./operations.ts";
import type { FuzzRequest } from "./requests.ts";
import type { FuzzAnswer } from "./world.ts";

const Failure = z.strictObject({
  success: z.literal(false),
  errors: z.tuple([z.strictObject({ code: z.int(), message: z.string().min(1) })]),
  messages: z.tuple([z.string().regex(/^error: \w+, request: [0-9a-f-]{36}$/)]),
  result: z.null(),
});

// Of our own sources or of packages: what a stack trace has, and no sentence for a client.
const TRACE = /node_modules|\/control-plane\/src|\bat (\S+ \()?(node:|file:)/;

/** Says of each answer whether it is one that the document promises. */
export class AnswerOracle {
  readonly #document: ApiDocument;
  readonly #schemas = new Map<string, z.ZodType>();

  constructor(document: ApiDocument) {
    this.#document = document;
  }

  /** What is wrong with an answer, in a sentence; `undefined` when nothing is. */
  faultOf(fuzzed: FuzzRequest, answer: FuzzAnswer): string | undefined {
    const { status, headers, body } = answer;
    if (isRefusedBeforeHttp(answer)) return undefined;
    if (status >= 500 && status !== 503)
      return `status ${status}: ${body.toString().slice(0, 500)}`;
    if (headers["x-request-id"] === undefined) return `status ${status} without a request id`;
    if (headers["x-content-type-options"] !== "nosniff") return "no security headers";
    if (status >= 400) return this.#faultOfFailure(fuzzed, answer);
    return fuzzed.operation === undefined
      ? undefined
      : this.#faultOfSuccess(fuzzed.operation, answer);
  }

  #faultOfFailure({ operation, method }: FuzzRequest, answer: FuzzAnswer): string | undefined {
    const { status, body } = answer;
    // What nodes ask for and is not there: they look at the status alone. HEAD has no body.
    if (method === "HEAD" || (status === 404 && body.length === 0 && isForNodes(operation))) {
      return undefined;
    }
    // The front page is for people, also when it asks them who they are.
    if (operation?.path === "/" && status === 401) return undefined;
    const text = body.toString();
    const parsed = Failure.safeParse(parseJson(text));
    if (!parsed.success) return `a failure without the envelope: ${status} ${text.slice(0, 500)}`;
    if (TRACE.test(text)) return `a trace for clients: ${text.slice(0, 500)}`;
    const code = /^error: (\w+),/.exec(parsed.data.messages[0])?.[1] ?? "";
    const known = this.#document["x-error-codes"][code];
    if (known?.number !== parsed.data.errors[0].code) return `the code ${code} is told as another`;
    if (operation === undefined || isOfAnotherAddress(code)) return undefined;
    const documented = operation.responses[status]?.description.split(", ") ?? [];
    if (documented.includes(code)) return undefined;
    return `${operation.operationId} may not answer ${status} ${code}: ${text.slice(0, 300)}`;
  }

  #faultOfSuccess(operation: Operation, { status, headers, body }: FuzzAnswer): string | undefined {
    const expected = successOf(operation, status);
    if (expected === undefined) return `${operation.operationId} may not answer ${status}`;
    const [entry] = Object.entries(expected.content ?? {});
    if (entry === undefined) return undefined;
    const [type, { schema }] = entry;
    if (!headers["content-type"]?.startsWith(type)) {
      return isOtherContent(operation) ? undefined : `content of type ${headers["content-type"]}`;
    }
    if (schema === undefined) return undefined;
    const known = this.#schemas.get(operation.operationId) ?? z.fromJSONSchema({ ...schema });
    this.#schemas.set(operation.operationId, known);
    const parsed = known.safeParse(parseJson(body.toString()));
    if (parsed.success) return undefined;
    const [issue] = parsed.error.issues;
    return `${operation.operationId} answers ${issue?.path.join(".")}: ${issue?.message}: ${body.toString().slice(0, 500)}`;
  }
}

/** Node's own answer to what is no HTTP that it takes, such as a head that is too long. */
function isRefusedBeforeHttp({ status, headers, body }: FuzzAnswer): boolean {
  const isBare = headers["x-request-id"] === undefined && body.length === 0;
  return isBare && headers.connection === "close" && [400, 408, 413, 414, 431].includes(status);
}

/** A path with something odd in it is another route's, or nobody's. */
function isOfAnotherAddress(code: string): boolean {
  return ["not_found", "method_not_allowed", "unsupported", "kv_key_invalid"].includes(code);
}

function isForNodes(operation: Operation | undefined): boolean {
  return operation === undefined || operation.path.startsWith("/fleet/");
}

/** A service-worker's script is given back as it is, and not as a form. */
function isOtherContent({ path }: Operation): boolean {
  return path.endsWith("/content/v2");
}

function successOf({ responses }: Operation, status: number): ApiResponse | undefined {
  // A bucket of files answers 201 when it was the last one, with the same body.
  return responses[status] ?? (status === 201 ? responses[202] : undefined);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // which no schema of ours lets pass
  }
}
