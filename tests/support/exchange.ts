import { request } from "undici";

/** Somewhere that serves a project. */
export interface Target {
  readonly url: string;
  /** The `Host` to send, where it is not the URL's. */
  readonly host?: string;
}

export interface ExchangeRequest {
  readonly method?: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** A request and the whole answer to it. */
export interface Exchange {
  /** Method and path, which name the exchange. */
  readonly name: string;
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Text where the type says so or there is none, else hexadecimal. */
  readonly body: string;
}

/** Sends requests to a target and keeps what was answered. */
export class Client {
  readonly exchanges: Exchange[] = [];
  readonly #target: Target;

  constructor(target: Target) {
    this.#target = target;
  }

  get(path: string, headers: Readonly<Record<string, string>> = {}): Promise<Exchange> {
    return this.send({ path, headers });
  }

  async send({ method = "GET", path, headers, body }: ExchangeRequest): Promise<Exchange> {
    const { host } = this.#target;
    const response = await request(`${this.#target.url}${path}`, {
      method: method as "GET",
      headers: { ...headers, ...(host !== undefined && { host }) },
      ...(body !== undefined && { body }),
    });
    const received = Object.entries(response.headers).map(([name, value]) => [
      name,
      // Several headers of one name are one list; which of the two forms travels does not matter.
      Array.isArray(value) ? value.join(", ") : (value ?? ""),
    ]);
    const exchange = {
      name: `${method} ${path}`,
      status: response.statusCode,
      headers: Object.fromEntries(received) as Record<string, string>,
      body: asText(
        Buffer.from(await response.body.arrayBuffer()),
        String(response.headers["content-type"] ?? ""),
      ),
    };
    this.exchanges.push(exchange);
    return exchange;
  }
}

function asText(bytes: Buffer, type: string): string {
  const isText = /^$|^text\/|json|javascript|svg|xml/.test(type);
  return isText ? bytes.toString() : bytes.toString("hex");
}
