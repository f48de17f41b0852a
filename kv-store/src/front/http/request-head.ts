import { KvError } from "../../errors.ts";
import { NO_FRAMING, type BodyFraming } from "./body-decoder.ts";

/** What comes before the body of a request. */
export interface RequestHead {
  readonly method: string;
  /** As it was sent: path and query. */
  readonly target: string;
  /** By names in lower case. Values are bytes as Latin-1; of a field that is there twice, with ", " between. */
  readonly fields: ReadonlyMap<string, string>;
  readonly framing: BodyFraming;
  /** Nothing follows on this connection. */
  readonly isLast: boolean;
}

const REQUEST_LINE = /^([A-Z]{1,20}) (\S+) HTTP\/1\.1$/;
const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** What no line has in it: a line break of its own kind, or none at all that is text. */
const NO_TEXT = /[\0\r\n]/;

/**
 * Parses a head without the empty line at its end. Fails with `request_invalid` for all that a sound client
 * would not send: what is not understood could be understood in two ways.
 */
export function parseHead(text: string): RequestHead {
  const [first = "", ...lines] = text.split("\r\n");
  const [, method, target] = REQUEST_LINE.exec(first) ?? [];
  if (method === undefined || target === undefined) throw malformed("its first line is none");
  // A worker may try it on its own binding, and what it sends behind it would be read as requests.
  if (method === "CONNECT") throw malformed("there is nothing to connect to");
  const fields = new Map<string, string>();
  for (const line of lines) addField(fields, line);
  const isLast = fields.get("connection")?.toLowerCase() === "close";
  return { method, target, fields, framing: framingOf(fields), isLast };
}

function addField(fields: Map<string, string>, line: string): void {
  const colon = line.indexOf(":");
  const name = line.slice(0, colon);
  // A name that is none, a continued line among them.
  if (colon < 1 || !NAME.test(name) || NO_TEXT.test(line)) throw malformed("a line is no field");
  const known = name.toLowerCase();
  const value = line.slice(colon + 1).trim();
  const before = fields.get(known);
  fields.set(known, before === undefined ? value : `${before}, ${value}`);
}

function framingOf(fields: ReadonlyMap<string, string>): BodyFraming {
  const coding = fields.get("transfer-encoding");
  const length = fields.get("content-length");
  if (coding === undefined) {
    if (length === undefined) return NO_FRAMING;
    if (/^\d{1,15}$/.test(length)) return { kind: "length", bytes: Number(length) };
  } else if (coding.toLowerCase() === "chunked" && length === undefined) {
    return { kind: "chunked" };
  }
  throw malformed("it does not say where its body ends");
}

function malformed(what: string): KvError {
  return new KvError("request_invalid", `The head of the request is malformed: ${what}`);
}
