import { isHopByHop, withoutListed } from "./request-head.ts";

/** What the ingress adds to every answer. */
export interface ResponseMarks {
  readonly ray: string;
  /** Milliseconds that this request waited for its cell to start. */
  readonly coldMs: number | undefined;
}

/**
 * Headers for the client, names and values in turn: the cell's, in its order, case and repetition,
 * without those of its connection and without those that only the ingress may set.
 */
export function clientHeaders(raw: ReadonlyArray<Buffer | string>, marks: ResponseMarks): string[] {
  let headers: string[] = [];
  let connection = "";
  for (let index = 0; index < raw.length; index += 2) {
    const name = text(raw[index]);
    const value = text(raw[index + 1]);
    const lower = name.toLowerCase();
    if (lower === "connection") connection += `,${value}`;
    if (isHopByHop(lower) || isIngressOwn(lower)) continue;
    headers.push(name, value);
  }
  if (connection !== "") headers = withoutListed(headers, connection);
  appendMarks(headers, marks);
  return headers;
}

/** Appends what marks an answer as ours. */
export function appendMarks(headers: string[], marks: ResponseMarks): void {
  headers.push("server", "atoll", "cf-ray", marks.ray);
  if (marks.coldMs !== undefined) headers.push("x-atoll-cold", marks.coldMs.toFixed(0));
}

/**
 * Whether this is workerd's own answer for a worker that threw: exactly these two headers, which no
 * worker can produce, because workerd sets `connection` itself and gives every body of text a type.
 */
export function isUncaughtException(status: number, raw: ReadonlyArray<Buffer | string>): boolean {
  if (status !== 500 || raw.length !== 4) return false;
  const pairs = [0, 2].map((index) => `${text(raw[index])}: ${text(raw[index + 1])}`.toLowerCase());
  return pairs.includes("connection: close") && pairs.includes("content-length: 21");
}

function isIngressOwn(lower: string): boolean {
  return (
    lower === "server" ||
    lower === "cf-ray" ||
    lower === "x-atoll-cold" ||
    lower === "x-atoll-error"
  );
}

function text(part: Buffer | string | undefined): string {
  // Header bytes above 127 are Latin-1 on the wire and in Node's strings alike.
  return typeof part === "string" ? part : (part?.toString("latin1") ?? "");
}
