import type { Exchange } from "./exchange.ts";

/**
 * Where Atoll answers otherwise than `wrangler dev`, each with the reason why that is right. Whatever is
 * not in this table must be equal: status, every header, and the body byte for byte.
 */
export interface Difference {
  /** Names of examples; all without it. */
  readonly examples?: ReadonlyArray<string>;
  readonly reason: string;
  /** The exchange without what differs. */
  readonly ignore: (exchange: Exchange) => Exchange;
}

export const DIFFERENCES: ReadonlyArray<Difference> = [
  {
    reason: "each server frames its own connections (RFC 9112); none of it is the worker's",
    ignore: withoutHeaders(
      "connection",
      "content-length",
      "date",
      "keep-alive",
      "transfer-encoding",
    ),
  },
  {
    reason: "Atoll names itself, the request and a cold start, as Cloudflare's edge names itself",
    ignore: withoutHeaders("cf-ray", "server", "x-atoll-cold"),
  },
  {
    reason: "wrangler dev makes the ETag of a file in JavaScript, workerd's own service natively",
    examples: ["guestbook", "single-page-app"],
    ignore: withHeader("etag", /^"[0-9a-f-]+"$/, '"…"'),
  },
  {
    reason:
      "wrangler dev pretends that each file came from Cloudflare's cache; Atoll has none to tell of",
    examples: ["guestbook", "single-page-app"],
    ignore: withoutHeaders("cf-cache-status"),
  },
  {
    reason: "Atoll's region answers as request.cf.colo; Miniflare has a fixed one",
    examples: ["guestbook"],
    ignore: withBody(/"region":"[A-Za-z]+"/g, '"region":"…"'),
  },
  {
    reason: "the two are asked one after the other, so what they store has other times",
    examples: ["guestbook", "short-links"],
    ignore: withBody(/"(at|createdAt)":"[^"]+"/g, '"$1":"…"'),
  },
];

/** The exchange without what may differ in it, and which rows of the table had any effect. */
export function withoutDifferences(
  example: string,
  exchange: Exchange,
): { readonly exchange: Exchange; readonly used: ReadonlyArray<Difference> } {
  const used: Difference[] = [];
  let current = exchange;
  for (const difference of DIFFERENCES) {
    if (difference.examples !== undefined && !difference.examples.includes(example)) continue;
    const next = difference.ignore(current);
    if (JSON.stringify(next) !== JSON.stringify(current)) used.push(difference);
    current = next;
  }
  return { exchange: current, used };
}

function withoutHeaders(...names: ReadonlyArray<string>): Difference["ignore"] {
  return (exchange) => ({
    ...exchange,
    headers: Object.fromEntries(
      Object.entries(exchange.headers).filter(([name]) => !names.includes(name)),
    ),
  });
}

function withHeader(name: string, pattern: RegExp, replacement: string): Difference["ignore"] {
  return (exchange) => {
    const value = exchange.headers[name];
    if (value === undefined) return exchange;
    const headers = { ...exchange.headers, [name]: value.replace(pattern, replacement) };
    return { ...exchange, headers };
  };
}

function withBody(pattern: RegExp, replacement: string): Difference["ignore"] {
  return (exchange) => ({ ...exchange, body: exchange.body.replaceAll(pattern, replacement) });
}
