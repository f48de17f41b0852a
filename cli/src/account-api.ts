import { z } from "zod";
import { UsageError } from "./settings.ts";
import type { WranglerEnvironment } from "./wrangler-environment.ts";

const Envelope = z.object({
  result: z.unknown(),
  errors: z.array(z.object({ message: z.string() })),
});

/** The API refused, in a sentence of its own. */
export class RefusedError extends UsageError {
  readonly status: number;
  /** After how many seconds the same call may succeed, if it says so. */
  readonly retryAfterSeconds: number | undefined;

  constructor(message: string, response: Response) {
    super(message);
    this.status = response.status;
    const retryAfter = response.headers.get("retry-after");
    this.retryAfterSeconds = retryAfter === null ? undefined : Number(retryAfter);
  }
}

// Within this, what people wait for at their terminal is there, or its control plane is said to be down.
const HURRY_MS = 5_000;

/**
 * The control plane's answer, which is a success. Throws a `RefusedError`, or a `UsageError` when there is
 * no answer.
 */
export async function askControlPlane(
  url: string,
  token: string,
  init: RequestInit = {},
): Promise<Response> {
  const headers = { authorization: `Bearer ${token}` };
  const response = await fetch(url, { ...init, headers }).catch((cause: unknown) => {
    const { origin } = new URL(url);
    const message = `The control plane at ${origin} does not answer: is Atoll running?`;
    throw new UsageError(message, { cause });
  });
  if (response.ok) return response;
  throw new RefusedError(await refusalText(response), response);
}

/** What is read of an answer. Throws a `UsageError` where it was cut, or is not what a control plane of this version says. */
export async function readAnswer<Result>(
  response: Response,
  read: (json: unknown) => Result,
): Promise<Result> {
  const { origin } = new URL(response.url);
  const text = await response.text().catch((cause: unknown) => {
    throw new UsageError(`The answer of ${origin} broke off: try again`, { cause });
  });
  try {
    return read(parseJson(text));
  } catch (cause) {
    if (!(cause instanceof z.ZodError)) throw cause;
    const message = `What ${origin} answers is not an Atoll's of this version: is CLOUDFLARE_API_BASE_URL its address, and is it as new as this command?`;
    throw new UsageError(message, { cause });
  }
}

/** For what has to be there soon or not at all. */
export function inHurry(): RequestInit {
  return { signal: AbortSignal.timeout(HURRY_MS) };
}

/** The API of a running Atoll, for the account of a token. */
export class AccountApi {
  readonly #base: string;
  readonly #token: string;

  /** `path` is what all calls are below, such as `/storage/kv`. */
  constructor(variables: WranglerEnvironment, path = "") {
    const { CLOUDFLARE_API_BASE_URL: base, CLOUDFLARE_ACCOUNT_ID: account } = variables;
    this.#base = `${base}/accounts/${account}${path}`;
    this.#token = variables.CLOUDFLARE_API_TOKEN;
  }

  /** Calls a path such as `/status` and reads the result. Throws a `RefusedError`. */
  async call<Schema extends z.ZodType>(
    path: string,
    schema: Schema,
    init: RequestInit = {},
  ): Promise<z.output<Schema>> {
    const response = await this.fetch(path, init);
    return readAnswer(response, (json) => schema.parse(Envelope.parse(json).result));
  }

  /** As `askControlPlane`, below the account. */
  async fetch(path: string, init: RequestInit = {}): Promise<Response> {
    return askControlPlane(this.#base + path, this.#token, init);
  }
}

async function refusalText(response: Response): Promise<string> {
  const text = await response.text();
  const parsed = Envelope.safeParse(parseJson(text));
  const message = parsed.data?.errors[0]?.message ?? text.slice(0, 300);
  return `Refused with status ${response.status}: ${message}`;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // shown as it is
  }
}
