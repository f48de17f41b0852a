import { isIP } from "node:net";
import { EdgeError } from "../errors.ts";

/** Where a cell wants to go. */
export interface Destination {
  readonly scheme: "http" | "https" | "tcp";
  /** Lower case; an IP address in its usual form, IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
  readonly isAddress: boolean;
}

/** A request's destination and what to ask there. */
export interface RequestDestination extends Destination {
  readonly scheme: "http" | "https";
  readonly origin: string;
  readonly path: string;
}

/** Parses the absolute-form target of a proxied request. Throws `egress_invalid`. */
export function parseRequestTarget(target: string): RequestDestination {
  const url = URL.canParse(target) ? new URL(target) : undefined;
  const scheme = url?.protocol.slice(0, -1);
  if (url === undefined || url.hostname === "" || (scheme !== "http" && scheme !== "https")) {
    throw new EdgeError("egress_invalid", `'${excerpt(target)}' is no http:// or https:// URL`);
  }
  return {
    scheme,
    ...hostOf(url),
    port: portOf(url),
    origin: url.origin,
    // As the cell sent it, not as the parser would write it: servers may tell `%7e` from `~`.
    path: pathOf(target) ?? url.pathname + url.search,
  };
}

/** The port of an http:// or https:// URL, which may leave out the usual one. */
export function portOf({ port, protocol }: URL): number {
  if (port !== "") return Number(port);
  return protocol === "https:" ? 443 : 80;
}

/** Parses the `host:port` of a CONNECT. Throws `egress_invalid`. */
export function parseConnectTarget(target: string): Destination {
  const match = /^(.+):([0-9]{1,5})$/.exec(target);
  const port = Number(match?.[2]);
  const base = `http://${match?.[1] ?? ""}`;
  const url = URL.canParse(base) ? new URL(base) : undefined;
  const isBareHost = url !== undefined && url.pathname === "/" && url.username === "";
  if (!isBareHost || url.hostname === "" || port < 1 || port > 65_535) {
    throw new EdgeError("egress_invalid", `'${excerpt(target)}' is no host and port`);
  }
  return { scheme: "tcp", ...hostOf(url), port };
}

// The URL parser turns every spelling of an IPv4 address (`0x7f.1`, `2130706433`, `0177.0.0.1`) into the
// usual one, so that what is judged is what is connected to.
function hostOf(url: URL): Pick<Destination, "host" | "isAddress"> {
  const bare = url.hostname.startsWith("[") ? url.hostname.slice(1, -1) : url.hostname;
  const host = bare.toLowerCase().replace(/\.$/, "");
  return { host, isAddress: isIP(host) !== 0 };
}

function pathOf(target: string): string | undefined {
  const rest = /^https?:\/\/[^/?#]*(\/[^#]*)/i.exec(target)?.[1];
  return rest === undefined || /[^\u0021-\u007e]/.test(rest) ? undefined : rest;
}

function excerpt(target: string): string {
  return target.length > 200 ? `${target.slice(0, 200)}…` : target;
}
