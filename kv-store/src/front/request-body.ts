import type { IncomingMessage } from "node:http";
import { KvError } from "../errors.ts";

/**
 * The pieces of a body. Unlike a plain loop over the request, one that ends early leaves the connection
 * open, so that the sender can be told why.
 */
export function bodyOf(request: IncomingMessage): AsyncIterable<Buffer> {
  return request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>; // no encoding is set
}

/** The whole body as text. Fails with `request_invalid` when it is longer than `bytesMax`. */
export async function readText(request: IncomingMessage, bytesMax: number): Promise<string> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of bodyOf(request)) {
    bytes += piece.length;
    if (bytes > bytesMax) {
      throw new KvError("request_invalid", `The body is longer than ${bytesMax} bytes`);
    }
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString("utf8");
}

/** Reads what is left of a body and forgets it. False when it is longer than `bytesMax` or breaks off. */
export function drain(request: IncomingMessage, bytesMax: number): Promise<boolean> {
  if (request.complete) return Promise.resolve(true);
  return new Promise((resolve) => {
    let bytes = 0;
    request.on("data", (piece: Buffer) => {
      bytes += piece.length;
      if (bytes > bytesMax) resolve(false);
    });
    if (request.destroyed) resolve(false);
    request.on("end", () => resolve(true));
    request.on("close", () => resolve(request.complete));
  });
}
