import { headerText } from "../../http/wire.ts";

/** What the ingress adds to every answer. */
export interface ResponseMarks {
  readonly ray: string;
  /** Milliseconds that this request waited for its cell to start. */
  readonly coldMs: number | undefined;
  /** What lets the client meet the same version of the worker again. */
  readonly setCookie?: string | undefined;
}

/**
 * Headers for the client, names and values in turn: those that a cell passes on, in its order, case and
 * repetition, without those that only the ingress may set.
 */
export function clientHeaders(passed: ReadonlyArray<string>, marks: ResponseMarks): string[] {
  const headers: string[] = [];
  for (let index = 0; index < passed.length; index += 2) {
    const name = passed[index] ?? "";
    if (!isIngressOwn(name.toLowerCase())) headers.push(name, passed[index + 1] ?? "");
  }
  appendMarks(headers, marks);
  return headers;
}

/** Bytes of header lines, names and values in turn, as they are on the wire. */
export function lineBytes(headers: ReadonlyArray<string>): number {
  let bytes = 0;
  // Each line has a separator and an end, of two bytes each.
  for (const { length } of headers) bytes += length + 2;
  return bytes;
}

/** Appends what marks an answer as ours. */
export function appendMarks(headers: string[], marks: ResponseMarks): void {
  headers.push("server", "atoll", "cf-ray", marks.ray);
  if (marks.coldMs !== undefined) headers.push("x-atoll-cold", marks.coldMs.toFixed(0));
  if (marks.setCookie !== undefined) headers.push("set-cookie", marks.setCookie);
}

/**
 * Whether this is workerd's own answer for a worker that threw: exactly these two headers, which no
 * worker can produce, because workerd sets `connection` itself and gives every body of text a type.
 */
export function isUncaughtException(status: number, raw: ReadonlyArray<Buffer | string>): boolean {
  if (status !== 500 || raw.length !== 4) return false;
  const pairs = [0, 2].map((index) =>
    `${headerText(raw[index])}: ${headerText(raw[index + 1])}`.toLowerCase(),
  );
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
