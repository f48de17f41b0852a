import { type ServerResponse, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import { EdgeError } from "../errors.ts";
import { responseHeadText } from "../http/wire.ts";

/** Names a failure on the way out in the terms of our table. */
export function toEgressError(error: unknown): EdgeError {
  if (error instanceof EdgeError) return error;
  const { code = "", message } = error as NodeJS.ErrnoException;
  // The message is empty when several addresses were tried and every one failed.
  const reason = message === "" ? code : message;
  if (code === "UND_ERR_MAX_ORIGINS_REACHED") {
    return new EdgeError("egress_busy", "one cell talks to too many hosts at a time");
  }
  if (code === "UND_ERR_INVALID_ARG" || code === "UND_ERR_NOT_SUPPORTED") {
    return new EdgeError("egress_invalid", reason, { cause: error });
  }
  return /TIMEOUT|ETIMEDOUT/.test(code)
    ? new EdgeError("egress_timeout", `the destination did not answer in time: ${reason}`, {
        cause: error,
      })
    : new EdgeError("egress_unreachable", `the destination could not be reached: ${reason}`, {
        cause: error,
      });
}

/** Answers a worker's request with the reason why it went nowhere. */
export function sendDenial(response: ServerResponse, error: EdgeError): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const { headers, body } = denialParts(error);
  response.writeHead(error.kind.status, headers);
  response.end(body);
}

/** The same on a socket that no HTTP parser owns any more; closes it. */
export function writeDenial(socket: Duplex, error: EdgeError): void {
  const { headers, body } = denialParts(error);
  const { status } = error.kind;
  const head = responseHeadText(status, STATUS_CODES[status] ?? "", [
    ...headers,
    "connection",
    "close",
  ]);
  socket.end(head + body);
}

function denialParts(error: EdgeError): { readonly headers: string[]; readonly body: string } {
  const body = `${error.code}: ${error.message}\n`;
  return {
    headers: [
      "content-type",
      "text/plain; charset=utf-8",
      "x-atoll-error",
      error.code,
      "content-length",
      String(Buffer.byteLength(body)),
    ],
    body,
  };
}
