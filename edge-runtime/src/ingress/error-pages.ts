import type { EdgeErrorCode } from "../errors.ts";
import { EDGE_ERRORS } from "../errors.ts";

/** An answer that the ingress gives itself. */
export interface ErrorPage {
  readonly status: number;
  readonly headers: ReadonlyArray<readonly [name: string, value: string]>;
  readonly body: string;
}

/** What a page tells about the request that it answers. */
export interface ErrorContext {
  readonly ray: string;
  /** As the client sent it; absent when the head could not be read so far. */
  readonly host?: string | undefined;
  /** The request's `accept`. */
  readonly accept?: string | undefined;
  /** Seconds after which what may be repeated is worth it; 1 by default. */
  readonly retryAfter?: string | undefined;
}

interface PageText {
  /** The number that Cloudflare shows for the same situation, or the status where it has none. */
  readonly number: number;
  readonly title: string;
  readonly explanation: string;
}

const FALLBACK: PageText = {
  number: 500,
  title: "Internal error",
  explanation: "This node could not answer the request.",
};

/** Texts by code. Codes that never answer a request have none and share the last one. */
const TEXTS: Partial<Record<EdgeErrorCode, PageText>> = {
  host_unknown: {
    number: 404,
    title: "Nothing here",
    explanation: "No worker is routed at this host and path.",
  },
  preview_unknown: {
    number: 404,
    title: "No such preview",
    explanation: "The worker of this host has no version or alias of this name.",
  },
  preview_unavailable: {
    number: 503,
    title: "Preview not available",
    explanation: "This node can't find out which version this is. Try again in a moment.",
  },
  worker_unknown: {
    number: 404,
    title: "Nothing here",
    explanation: "The worker of this host is not on this node.",
  },
  answer_head_too_large: {
    number: 502,
    title: "Answer too large",
    explanation: "The worker answered with more headers than this node passes on.",
  },
  answer_invalid: {
    number: 502,
    title: "Invalid answer",
    explanation:
      "The worker answered with headers that HTTP does not allow, such as with a control character.",
  },
  worker_threw: {
    number: 1101,
    title: "Worker threw exception",
    explanation: "The worker threw an exception while it handled the request.",
  },
  cell_failed: {
    number: 1101,
    title: "Worker did not start",
    explanation: "The worker's code failed before it could handle the request.",
  },
  cell_start_timeout: {
    number: 1102,
    title: "Worker took too long to start",
    explanation: "The worker did not become ready in time. Try again in a moment.",
  },
  cell_backoff: {
    number: 1101,
    title: "Worker keeps failing",
    explanation: "The worker failed repeatedly and is started again shortly.",
  },
  cpu_exceeded: {
    number: 1102,
    title: "Worker exceeded resource limits",
    explanation:
      "The worker used more CPU time than it may and was stopped. It starts again by itself, later when this repeats.",
  },
  memory_exceeded: {
    number: 1102,
    title: "Worker exceeded resource limits",
    explanation:
      "The worker used more memory than it may and was stopped. It starts again by itself, later when this repeats.",
  },
  day_quota_exceeded: {
    number: 1027,
    title: "Daily limit exceeded",
    explanation:
      "The owner of this site has used up all requests or CPU time of the day. It is served again from 00:00 UTC on.",
  },
  cell_lost: {
    number: 502,
    title: "Bad gateway",
    explanation: "The process that handled the request ended before it answered.",
  },
  queue_full: {
    number: 1200,
    title: "Too many requests wait",
    explanation: "Too many requests wait for this worker to start. Try again in a moment.",
  },
  closed: {
    number: 503,
    title: "Shutting down",
    explanation: "This node is shutting down. Try again in a moment.",
  },
  request_invalid: {
    number: 400,
    title: "Bad request",
    explanation: "The request is not valid HTTP/1.1.",
  },
  request_url_too_long: {
    number: 414,
    title: "URL too long",
    explanation: "The request's URL is longer than this server reads.",
  },
  request_head_too_large: {
    number: 431,
    title: "Request headers too large",
    explanation: "The request's headers are larger than this server reads.",
  },
  request_body_too_large: {
    number: 413,
    title: "Request too large",
    explanation: "The request's body is larger than a worker may get.",
  },
  websockets_full: {
    number: 503,
    title: "Too many WebSockets",
    explanation: "The worker has as many WebSockets as it may. Try again later.",
  },
  answer_timeout: {
    number: 504,
    title: "Worker sent nothing",
    explanation: "The worker did not go on with its answer in time.",
  },
  request_timeout: {
    number: 408,
    title: "Request timeout",
    explanation: "The request did not arrive in time.",
  },
};

/** HTML for clients that accept it, `error code: <number>` and one sentence in plain text for others. */
export function errorPage(code: EdgeErrorCode, context: ErrorContext): ErrorPage {
  const { status, retryable } = EDGE_ERRORS[code];
  const text = TEXTS[code] ?? FALLBACK;
  const isHtml = /\btext\/html\b/i.test(context.accept ?? "");
  return {
    status,
    headers: [
      ["content-type", `text/${isHtml ? "html" : "plain"}; charset=utf-8`],
      // Nothing on the way may keep an error for a worker that recovers within milliseconds.
      ["cache-control", "private, no-store"],
      ["x-atoll-error", code],
      ...(retryable ? ([["retry-after", context.retryAfter ?? "1"]] as const) : []),
    ],
    body: isHtml ? htmlBody(text, context) : plainBody(text, context),
  };
}

function plainBody(text: PageText, { ray, host }: ErrorContext): string {
  const where = host === undefined ? "" : `host: ${host}\n`;
  return `error code: ${text.number}\n${text.title}: ${text.explanation}\n${where}ray id: ${ray}\n`;
}

function htmlBody(text: PageText, { ray, host }: ErrorContext): string {
  const where = host === undefined ? "" : ` | ${escapeHtml(host)}`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="robots" content="noindex">
<meta name="viewport" content="width=device-width"><title>${text.title}${where}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1rem;color:#222}
h1{font-size:1.4rem}small{color:#666}</style></head>
<body><h1>${text.title} <small>Error ${text.number}</small></h1>
<p>${text.explanation}</p><p><small>Ray ID: ${escapeHtml(ray)}${where}</small></p></body></html>
`;
}

const ESCAPES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ESCAPES[character] ?? "");
}
