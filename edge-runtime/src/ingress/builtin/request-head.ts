import type { IncomingMessage } from "node:http";
import type { EdgeErrorCode } from "../../errors.ts";
import { isHopByHop, withoutListed } from "../../http/hop-by-hop.ts";
import { LIMITS } from "../../limits.ts";

/** A request's head that was found sound, with what of it the cell may see. */
export interface RequestHead {
  /** Lower case, without port: what routes are looked up by. */
  readonly host: string;
  /** Path and query, in origin form. */
  readonly target: string;
  readonly hasBody: boolean;
  readonly accept: string | undefined;
  readonly acceptEncoding: string;
  /**
   * Names and values in turn, as the client sent them: order, case and repetition kept. Without what
   * belongs to the client's connection and without what only an ingress may say.
   */
  readonly headers: string[];
  /** What the client claimed in headers that only an ingress may set; for a trusted proxy's socket. */
  readonly claims: ReadonlyMap<string, string> | undefined;
}

export type HeadReading =
  | { readonly kind: "sound"; readonly head: RequestHead }
  | { readonly kind: "refused"; readonly code: EdgeErrorCode; readonly host: string | undefined };

// A name, an IPv4 address or a bracketed IPv6 address, perhaps with a port. The dot of a fully
// qualified name (`example.com.`) is allowed and means the same host.
const AUTHORITY = /^([a-z0-9_-][a-z0-9._-]{0,253}|\[[0-9a-f:.]{2,45}\])(?::([0-9]{1,5}))?$/i;
// A worker can't even read a URL with a larger one: `new URL(request.url)` throws.
const PORT_MAX = 65_535;

/**
 * Judges what the HTTP parser accepted: it refuses broken framing, but reads heads larger than we allow,
 * repeated hosts and every form of target.
 */
export function readRequestHead(request: IncomingMessage): HeadReading {
  const scan = scanHeaders(request.rawHeaders);
  const host = scan.host === undefined ? undefined : parseAuthority(scan.host);
  const refuse = (code: EdgeErrorCode): HeadReading => ({ kind: "refused", code, host });
  const url = request.url ?? "";
  if (url.length > LIMITS.requestUrlBytesMax) return refuse("request_url_too_long");
  if (url.length + scan.bytes > LIMITS.requestHeadBytesMax) return refuse("request_head_too_large");
  if (scan.headers.length > 2 * LIMITS.headerLinesMax) return refuse("request_head_too_large");
  if (host === undefined || scan.hasTwoHosts) return refuse("request_invalid");
  if (isTooLong(request.headers["content-length"])) return refuse("request_body_too_large");
  const target = originForm(url, host);
  if (target === undefined) return refuse("request_invalid");
  const { hasBody, accept, acceptEncoding, headers, claims } = scan;
  return {
    kind: "sound",
    head: { host, target, hasBody, accept, acceptEncoding, headers, claims },
  };
}

/** Whether a body tells a length that no worker may get. */
function isTooLong(contentLength: string | undefined): boolean {
  return contentLength !== undefined && Number(contentLength) > LIMITS.requestBodyBytesMax;
}

interface HeaderScan {
  /** Of the lines that go on to the worker. */
  bytes: number;
  host: string | undefined;
  hasTwoHosts: boolean;
  hasBody: boolean;
  accept: string | undefined;
  acceptEncoding: string;
  headers: string[];
  claims: Map<string, string> | undefined;
}

// One pass with one lower-casing per header: this runs for every request.
function scanHeaders(rawHeaders: ReadonlyArray<string>): HeaderScan {
  const scan: HeaderScan = {
    bytes: 0,
    host: undefined,
    hasTwoHosts: false,
    hasBody: false,
    accept: undefined,
    acceptEncoding: "",
    headers: [],
    claims: undefined,
  };
  let connection = "";
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] ?? "";
    const value = rawHeaders[index + 1] ?? "";
    const lower = name.toLowerCase();
    if (lower === "connection") connection += `,${value}`;
    if (lower === "transfer-encoding") scan.hasBody = true;
    if (isHopByHop(lower)) continue;
    if (isReserved(lower)) {
      scan.claims ??= new Map();
      scan.claims.set(lower, value);
      continue;
    }
    // Four bytes of every line are its separator and its end.
    scan.bytes += name.length + value.length + 4;
    noteHeader(scan, lower, value);
    scan.headers.push(name, value);
  }
  if (connection !== "") scan.headers = withoutListed(scan.headers, connection);
  return scan;
}

function noteHeader(scan: HeaderScan, lower: string, value: string): void {
  switch (lower) {
    case "host":
      scan.hasTwoHosts ||= scan.host !== undefined;
      scan.host = value;
      break;
    case "content-length":
      scan.hasBody = !/^0*$/.test(value);
      break;
    case "accept":
      scan.accept = value;
      break;
    case "accept-encoding":
      scan.acceptEncoding = value;
      break;
    default:
  }
}

/** Headers by which an ingress tells a worker who called: never taken from a client. */
function isReserved(lower: string): boolean {
  return (
    lower.startsWith("cf-") ||
    lower.startsWith("x-atoll-") ||
    lower.startsWith("x-forwarded-") ||
    lower === "x-real-ip"
  );
}

function parseAuthority(value: string): string | undefined {
  const [, name = "", port = "0"] = AUTHORITY.exec(value.toLowerCase()) ?? [];
  const host = name.endsWith(".") ? name.slice(0, -1) : name;
  return host === "" || host.includes("..") || Number(port) > PORT_MAX ? undefined : host;
}

/**
 * A target in absolute form is what clients send to a proxy, and valid here too; but it and the host
 * must agree, or what we route by and what the worker sees would differ. So it would by a fragment, which
 * no target has.
 */
function originForm(url: string, host: string): string | undefined {
  if (url.includes("#")) return undefined;
  if (url.startsWith("/")) return url;
  const absolute = /^http:\/\/([^/?#]*)(.*)$/i.exec(url);
  if (absolute === null || parseAuthority(absolute[1] ?? "") !== host) return undefined;
  const rest = absolute[2] ?? "";
  return rest.startsWith("/") ? rest : `/${rest}`;
}
