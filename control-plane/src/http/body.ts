import type { Context } from "hono";
import type { MiddlewareHandler } from "hono";
import { bodyLimit } from "hono/body-limit";
import type { z } from "zod";
import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";

// Keys of records are in paths of errors and may be as long as the body.
const PATH_CHARACTERS_MAX = 200;

/** Refuses larger bodies before they are held in memory, whether or not they tell their length. */
export function limitBody(bytesMax: number): MiddlewareHandler {
  return bodyLimit({
    maxSize: bytesMax,
    onError: async (context) => {
      await discardBody(context.req.raw);
      throw new ControlPlaneError(
        "body_too_large",
        `The request's body is larger than the limit of ${describeSize(bytesMax)}`,
      );
    },
  });
}

/** The JSON body, parsed; wrangler often sends it as `text/plain`, so its content type says nothing. */
export async function readJson<Schema extends z.ZodType>(
  context: Context,
  schema: Schema,
): Promise<z.output<Schema>> {
  const json = jsonOf(await context.req.text(), "The request's body is not JSON");
  return parseInput(schema, json, "body");
}

/** The JSON that a text is. Throws `invalid_body` with the refusal when it is none. */
export function jsonOf(text: string, refusal: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ControlPlaneError("invalid_body", refusal, { cause });
  }
}

/** Parses input from outside; `what` names it in the error, beside the path of what is wrong. */
export function parseInput<Schema extends z.ZodType>(
  schema: Schema,
  input: unknown,
  what: string,
): z.output<Schema> {
  const parsed = schema.safeParse(input);
  if (parsed.success) return parsed.data;
  throw new ControlPlaneError("invalid_body", describeIssue(parsed.error, what));
}

/** The first thing that is wrong, such as `body: routes.0.pattern: expected string`. */
export function describeIssue(error: z.ZodError, what: string): string {
  const issue = error.issues[0];
  // A record's key that breaks a rule hides the rule one level deeper.
  const rule = issue?.code === "invalid_key" ? issue.issues[0]?.message : issue?.message;
  const path = (issue?.path ?? [])
    .map(String)
    .join(".")
    .replaceAll(/\p{Cc}/gu, "\ufffd");
  const where = path.length > PATH_CHARACTERS_MAX ? `${path.slice(0, PATH_CHARACTERS_MAX)}…` : path;
  return `${what}: ${where === "" ? "" : `${where}: `}${rule ?? "not of the documented form"}`;
}

/** Reads on and throws away, because many senders look for an answer only after their last byte. */
async function discardBody(request: Request): Promise<void> {
  // One of unknown length was being read when it passed the limit: its connection is cut instead.
  if (request.body === null || request.body.locked) return;
  let bytes = 0;
  for await (const piece of request.body) {
    bytes += piece.length;
    if (bytes > LIMITS.discardedBodyBytesMax) return;
  }
}

function describeSize(bytes: number): string {
  const mebibytes = bytes / 1024 / 1024;
  return Number.isInteger(mebibytes) ? `${bytes} bytes (${mebibytes} MiB)` : `${bytes} bytes`;
}
