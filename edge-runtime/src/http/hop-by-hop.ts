import { headerText } from "./wire.ts";

/**
 * Headers that speak of one connection and go no further. `expect` is among them because a proxy answers
 * it itself, and `trailer` because request trailers end here: workerd reads none.
 */
export function isHopByHop(lowerName: string): boolean {
  switch (lowerName) {
    case "connection":
    case "keep-alive":
    case "proxy-connection":
    case "proxy-authenticate":
    case "proxy-authorization":
    case "transfer-encoding":
    case "upgrade":
    case "te":
    case "trailer":
    case "expect":
      return true;
    default:
      return false;
  }
}

/**
 * Drops from `headers` (names and values in turn) what a `connection` header lists as its own, but never
 * what framing and routing depend on.
 */
export function withoutListed(headers: string[], connection: string): string[] {
  const listed = new Set(connection.toLowerCase().split(/[,\s]+/));
  for (const kept of ["", "close", "keep-alive", "upgrade", "host", "content-length"]) {
    listed.delete(kept);
  }
  if (listed.size === 0) return headers;
  const rest: string[] = [];
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] ?? "";
    if (!listed.has(name.toLowerCase())) rest.push(name, headers[index + 1] ?? "");
  }
  return rest;
}

/** What of raw headers (names and values in turn) goes on past a proxy. */
export function endToEnd(raw: ReadonlyArray<Buffer | string>): string[] {
  const headers: string[] = [];
  let connection = "";
  for (let index = 0; index < raw.length; index += 2) {
    const name = headerText(raw[index]);
    const value = headerText(raw[index + 1]);
    const lower = name.toLowerCase();
    if (lower === "connection") connection += `,${value}`;
    if (!isHopByHop(lower)) headers.push(name, value);
  }
  return connection === "" ? headers : withoutListed(headers, connection);
}
