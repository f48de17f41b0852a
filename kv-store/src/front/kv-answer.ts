import type { HeldEntry, KvOperation } from "../entry.ts";
import type { KvError } from "../errors.ts";
import type { Revision } from "../names.ts";
import type { CopyState } from "../replication/read-demand.ts";
import { asciiJson } from "./ascii-json.ts";
import { NO_BODY, type Answer, type PlainAnswer } from "./http/answer.ts";
import { METADATA_HEADER } from "./kv-call.ts";

/** Of a read: the revision of the namespace that it shows. Of a write: the one that it made. */
const REVISION_HEADER = "x-atoll-kv-revision";
/** Of a read: the copy is at most this much older than the origin. Absent while that is not known. */
const LAG_HEADER = "x-atoll-kv-lag-ms";
/** Of a key: the revision of the write that put what it holds, 0 when it holds nothing. */
const ENTRY_REVISION_HEADER = "x-atoll-kv-entry-revision";

/** Of a refusal: its code, one of `KV_ERRORS`. */
const CODE_HEADER = "x-atoll-kv-error";

/** What a read is of. */
export type ReadState = Pick<CopyState, "revision" | "lagMs">;

const OK = { status: 200, reason: "OK" } as const;

/** What is said of the copy is left out where nobody could see it: `state` is then `undefined`. */
export function answerEntry(
  state: ReadState | undefined,
  { metadata, revision }: HeldEntry,
  body: Answer["body"],
): Answer {
  const fields = state === undefined ? [] : fieldsOf(state);
  if (state !== undefined && revision !== undefined) fields.push([ENTRY_REVISION_HEADER, revision]);
  // Callers of the API write metadata as any JSON text, with line breaks too.
  if (metadata !== undefined) fields.push([METADATA_HEADER, asciiJson(metadata)]);
  return { ...OK, fields, body };
}

export function answerAbsent(state: ReadState | undefined): Answer {
  const fields =
    state === undefined ? [] : [...fieldsOf(state), [ENTRY_REVISION_HEADER, 0] as const];
  return { status: 404, reason: "Not Found", fields, body: NO_BODY };
}

export function answerWritten(revision: Revision, { kind }: KvOperation): Answer {
  const held = kind === "put" ? revision : 0;
  const fields = [[REVISION_HEADER, revision] as const, [ENTRY_REVISION_HEADER, held] as const];
  return { ...OK, fields, body: NO_BODY };
}

export function answerJson(state: ReadState, content: unknown): Answer {
  const fields = [...fieldsOf(state), ["content-type", "application/json"] as const];
  return { ...OK, fields, body: Buffer.from(JSON.stringify(content), "utf8") };
}

function fieldsOf({ revision, lagMs }: ReadState): Array<Answer["fields"][number]> {
  const fields: Array<Answer["fields"][number]> = [];
  if (revision !== undefined) fields.push([REVISION_HEADER, revision]);
  if (lagMs !== null) fields.push([LAG_HEADER, lagMs]);
  return fields;
}

export function refusalOf(error: KvError): PlainAnswer {
  const { status, code, message, found } = error;
  const fields: Array<Answer["fields"][number]> = [[CODE_HEADER, code]];
  if (found !== undefined) fields.push([ENTRY_REVISION_HEADER, found]);
  fields.push(["content-type", "text/plain"]);
  return { status, reason: reasonOf(error), fields, body: Buffer.from(message, "utf8") };
}

/** The message as a reason phrase, which is one line of printable ASCII. */
function reasonOf({ message }: KvError): string {
  return message.replaceAll(/[^\x20-\x7e]/g, "?").slice(0, 500);
}
