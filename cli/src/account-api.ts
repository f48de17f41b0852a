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
    return schema.parse(Envelope.parse(await response.json()).result);
  }

  /** The answer, which is a success. Throws a `RefusedError`, or a `UsageError` when there is no answer. */
  async fetch(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = { authorization: `Bearer ${this.#token}` };
    const response = await fetch(this.#base + path, { ...init, headers }).catch(
      (cause: unknown) => {
        const { origin } = new URL(this.#base);
        const message = `The control plane at ${origin} does not answer: is Atoll running?`;
        throw new UsageError(message, { cause });
      },
    );
    if (response.ok) return response;
    throw new RefusedError(await refusalText(response), response);
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
