import { type IncomingMessage, type ServerResponse, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import { dayEndMs } from "@atoll/control-plane/contract";
import type { EdgeErrorCode } from "../../errors.ts";
import { responseHeadText } from "../../http/wire.ts";
import { LIMITS } from "../../limits.ts";
import { type ErrorContext, errorPage } from "../error-pages.ts";
import { appendMarks } from "./response-head.ts";

interface PageContext extends ErrorContext {
  readonly coldMs?: number | undefined;
  /** Closes the connection afterwards, because what follows on it cannot be told apart. */
  readonly isLast?: boolean;
}

/** Answers a request with an error page. */
export function sendPage(
  response: ServerResponse,
  code: EdgeErrorCode,
  context: PageContext,
): void {
  const { status, headers, body } = pageParts(code, context);
  response.writeHead(status, headers);
  response.end(body);
}

/**
 * Answers on a socket that no HTTP parser owns any more, and closes it. What the client still sends is
 * read and forgotten for a while: closing over unread bytes would reset the connection, and the client
 * would never see the answer.
 */
export function writePage(socket: Duplex, code: EdgeErrorCode, context: ErrorContext): void {
  // Node gave it away without a listener, and an error that nobody hears would end the process. `close` follows it.
  socket.on("error", () => undefined);
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const { status, headers, body } = pageParts(code, { ...context, isLast: true });
  socket.end(`${responseHeadText(status, STATUS_CODES[status] ?? "", headers)}${body}`);
  socket.resume();
  const timer = setTimeout(() => socket.destroy(), LIMITS.bodyDiscardMs);
  socket.once("close", () => clearTimeout(timer));
}

/** Closes the connection of an answered request unless the rest of its body arrives soon. */
export function discardWithin(request: IncomingMessage): void {
  const timer = setTimeout(() => request.socket.destroy(), LIMITS.bodyDiscardMs);
  request.once("close", () => clearTimeout(timer));
}

/** Of the day of a moment. */
function secondsLeftOf(nowMs: number): string {
  return String(Math.ceil((dayEndMs(nowMs) - nowMs) / 1_000));
}

function pageParts(
  code: EdgeErrorCode,
  context: PageContext,
): { readonly status: number; readonly headers: string[]; readonly body: string } {
  const retryAfter = code === "day_quota_exceeded" ? secondsLeftOf(Date.now()) : undefined;
  const page = errorPage(code, { ...context, retryAfter });
  const headers = page.headers.flat();
  appendMarks(headers, { ray: context.ray, coldMs: context.coldMs });
  headers.push("content-length", String(Buffer.byteLength(page.body)));
  if (context.isLast === true) headers.push("connection", "close");
  return { status: page.status, headers, body: page.body };
}
