import { randomFillSync } from "node:crypto";
import type { Socket } from "node:net";
import type { Region } from "@atoll/control-plane/contract";
import { HEADERS } from "../../config/cell-interface.ts";
import type { RequestHead } from "./request-head.ts";

/**
 * By this a trusted proxy says that it lost a request with a cell that may have read it; its value is what
 * the proxy calls the cell.
 */
export const LOST_HEADER = "x-atoll-lost";

/** Who called, as the worker is told. */
export interface Caller {
  readonly address: string;
  readonly scheme: "http" | "https";
  /** `<16 hexadecimal digits>-<region>`, unique per request. */
  readonly ray: string;
}

/** The caller behind a connection that came from the world. */
export function callerOf(socket: Socket, region: Region): Caller {
  const address = plainAddress(socket.remoteAddress ?? "");
  return { address, scheme: "http", ray: newRay(region) };
}

/** The caller as a trusted proxy in front of us named it. */
export function claimedCaller({ claims }: RequestHead, region: Region): Caller {
  return {
    address: claims?.get("cf-connecting-ip") ?? "",
    scheme: claims?.get("x-forwarded-proto") === "https" ? "https" : "http",
    ray: claims?.get("cf-ray") ?? newRay(region),
  };
}

/** Appends to `headers` what a worker on Cloudflare is told about its caller, each thing once. */
export function appendCallerHeaders(
  headers: string[],
  caller: Caller,
  request: {
    readonly httpVersion: string;
    readonly acceptEncoding: string;
    readonly region: Region;
  },
): void {
  const { address, scheme, ray } = caller;
  headers.push(
    "cf-connecting-ip",
    address,
    "x-forwarded-proto",
    scheme,
    HEADERS.protocol,
    scheme,
    "cf-ray",
    ray,
    HEADERS.cf,
    JSON.stringify({
      colo: request.region.toUpperCase(),
      httpProtocol: `HTTP/${request.httpVersion}`,
      // Production leaves these empty for requests without TLS, and without priority.
      tlsVersion: "",
      tlsCipher: "",
      requestPriority: "",
      clientAcceptEncoding: request.acceptEncoding,
      edgeRequestKeepAliveStatus: 1,
    }),
  );
}

const RAY_BYTES = 8;
// Random bytes are fetched for many rays at once: a call per request would cost more than the rest.
const rayPool = Buffer.alloc(RAY_BYTES * 512);
let rayPosition = rayPool.length;

export function newRay(region: Region): string {
  if (rayPosition === rayPool.length) {
    randomFillSync(rayPool);
    rayPosition = 0;
  }
  const id = rayPool.toString("hex", rayPosition, rayPosition + RAY_BYTES);
  rayPosition += RAY_BYTES;
  return `${id}-${region}`;
}

/** IPv4 callers of a socket that listens on both families arrive as `::ffff:192.0.2.1`. */
function plainAddress(address: string): string {
  return address.startsWith("::ffff:") ? address.slice(7) : address;
}
