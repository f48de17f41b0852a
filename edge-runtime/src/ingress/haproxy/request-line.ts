import { NO_ANSWER_STATUS, type ServedRequest } from "../ingress.ts";
import { QUOTA } from "./haproxy-paths.ts";

/**
 * What HAProxy writes of a request that had a cell. Its own counts of bytes include heads in its internal
 * form, so the rules below note how much of them that was; see `USAGE_RULES`.
 */
const FORMATS = [
  ...["%[var(txn.route)]", "%[var(txn.cell)]", "%s", "%ts", "%ST"],
  ...["%U", "%[var(txn.head_in)]"],
  ...["%B", "%[var(txn.head_out)]", "%[var(txn.chunked)]"],
  ...["%Ta", "%TR"],
];
export const LINE_FORMAT = FORMATS.join(" ");

// What HAProxy sends to cells itself has a length, but for that of HTTP/2 and what WebSockets say.
const MAY_HAVE_BODY =
  "{ req.hdr(content-length) -m found } or { req.hdr(upgrade) -m found } or { fc_http_major 2 }";

/** These see a message as it arrived, so they come before every rule that changes it. */
export const USAGE_RULES = {
  request: [
    `http-request set-var(txn.body_in) req.body_len if ${MAY_HAVE_BODY}`,
    `http-request set-var(txn.head_in) internal.htx.data,sub(txn.body_in) if ${MAY_HAVE_BODY}`,
  ],
  response: [
    "http-response set-var(txn.body_out) res.body_len",
    "http-response set-var(txn.head_out) internal.htx.data,sub(txn.body_out)",
    // The end of a body in chunks is counted as a byte; it is in the head's part if it came with it.
    "http-response set-var(txn.chunked) bool(true) if { res.hdr(transfer-encoding) -m found } !{ internal.htx.has_eom }",
  ],
} as const;

/** A request, with its cell by the name that HAProxy has for it; `undefined` when that never got it. */
interface LoggedRequest extends Omit<ServedRequest, "socketPath"> {
  readonly cell: string | undefined;
}

/** What a line tells. */
type LogLine =
  | { readonly kind: "served"; readonly request: LoggedRequest }
  /** The same of one that was to have no cell. */
  | { readonly kind: "refused"; readonly request: LoggedRequest }
  /** A request that went on to the built-in ingress, which counts it. */
  | { readonly kind: "passed-on" }
  /** So many lines found no room in HAProxy's buffer. */
  | { readonly kind: "dropped"; readonly count: number }
  | { readonly kind: "other" };

/** Where a request ends up that its cell could not take, or was lost with. */
const LOST = "lost";
const NONE = "-";
/** What HAProxy answered by itself instead of choosing a server. */
const NO_SERVER = "<NOSRV>";

export function parseLogLine(line: string): LogLine {
  const fields = line.split(" ");
  const [worker = "", cell = "", server = "", end = ""] = fields;
  if (fields.length !== FORMATS.length || worker === NONE || cell === NONE) return otherLine(line);
  // What got no connection there (C), nor a place in the queue for one (Q), was not seen there.
  if (server === LOST && end[1] !== "C" && end[1] !== "Q") return { kind: "passed-on" };
  const request = {
    worker,
    cell: server === NO_SERVER ? undefined : cell,
    // C: the client left. HAProxy has a status for that as well, which nobody has seen.
    status: end[0] === "C" && fields[8] === NONE ? NO_ANSWER_STATUS : Number(fields[4]),
    bytesIn: fields[6] === NONE ? 0 : Number(fields[5]) - Number(fields[6]),
    bytesOut: bytesOut(fields, end),
    wallMs: Math.max(0, Number(fields[10]) - Number(fields[11])),
  };
  if (cell === QUOTA) return { kind: "refused", request: { ...request, isRefused: true } };
  return { kind: "served", request };
}

function bytesOut(fields: ReadonlyArray<string>, end: string): number {
  const [all, head, chunked] = fields.slice(7);
  // P: a page went out in place of the worker's answer. Without a head there was none of the worker's.
  if (head === NONE || end[0] === "P") return 0;
  const isWhole = end[1] === NONE;
  return Number(all) - Number(head) - (chunked === "1" && isWhole ? 1 : 0);
}

function otherLine(line: string): LogLine {
  const count = /(\d+) events? dropped$/.exec(line)?.[1];
  return count === undefined ? { kind: "other" } : { kind: "dropped", count: Number(count) };
}
