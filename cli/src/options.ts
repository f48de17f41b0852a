import { isIP } from "node:net";
import { InvalidArgumentError } from "commander";

/** In MB. A cell of a usual worker fits the least; the most is more than machines have, and less than bytes say. */
export const MEMORY_BUDGET_MB = { min: 64, max: 16 * 1024 * 1024 } as const;

/** In MB. With less nearly every value would be fetched; the most is more than disks have. */
const KV_BUDGET_MB = { min: 16, max: 16 * 1024 * 1024 } as const;

/** Parses the value of an option that names a port. */
export function parsePort(text: string): number {
  const port = wholeNumber(text);
  if (port !== undefined && port >= 1 && port <= 65_535) return port;
  throw new InvalidArgumentError("A port is a number from 1 to 65535.");
}

/** Parses the address of a PostgreSQL database. */
export function parsePostgresUrl(text: string): string {
  const isPostgres = URL.canParse(text) && /^postgres(ql)?:$/.test(new URL(text).protocol);
  if (isPostgres) return text;
  // It may hold a password, so it is not repeated.
  throw new InvalidArgumentError("It has the form postgres://user:password@host:port/database.");
}

/** A bucket of S3, and where in it. */
export interface BucketAddress {
  readonly bucket: string;
  /** Empty, or ends with a slash. */
  readonly prefix: string;
}

/** Parses the address of a bucket. */
export function parseBucket(text: string): BucketAddress {
  const match = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:\/([\w!.*'()/-]{0,512}))?$/.exec(
    text,
  );
  const [, bucket, folder = ""] = match ?? [];
  if (bucket !== undefined && folder.split("/").every((name) => !/^\.{1,2}$/.test(name))) {
    const prefix = folder.replace(/^\/+|\/+$/g, "");
    return { bucket, prefix: prefix === "" ? "" : `${prefix}/` };
  }
  throw new InvalidArgumentError("It has the form s3://bucket or s3://bucket/folder.");
}

/** Parses the address of a server that is asked over HTTP. */
export function parseEndpoint(text: string): string {
  const isServer = URL.canParse(text) && /^https?:$/.test(new URL(text).protocol);
  if (isServer && new URL(text).username === "" && new URL(text).pathname === "/") return text;
  throw new InvalidArgumentError("It has the form https://host or https://host:port.");
}

/** DNS servers that one look-up asks: as many as systems are told of, and one for good measure. */
const DNS_SERVERS_MAX = 4;

/** Parses addresses of DNS servers, with ports or without and commas between them. */
export function parseDnsServers(text: string): ReadonlyArray<string> {
  const servers = text.split(",").map(parseDnsServer);
  if (servers.length <= DNS_SERVERS_MAX) return servers;
  throw new InvalidArgumentError(`At most ${DNS_SERVERS_MAX} DNS servers are asked.`);
}

function parseDnsServer(text: string): string {
  const [, bracketed, plain = text, port] =
    /^(?:\[([^\]]*)\]|([^:]*))(?::(\d{1,5}))?$/.exec(text.trim()) ?? [];
  const address = bracketed ?? plain.trim();
  const family = isIP(address);
  const isGood = bracketed === undefined ? family !== 0 : family === 6;
  if (!isGood) {
    throw new InvalidArgumentError(
      "It is an IP address, with a port if that is not 53: 192.0.2.1:5353 or [2001:db8::1]:53.",
    );
  }
  const shown = family === 6 ? `[${address}]` : address;
  return `${shown}:${parsePort(port ?? "53")}`;
}

/** Parses the value of `--memory-budget`, in MB. */
export function parseMemoryBudget(text: string): number {
  return parseBudget(text, "memory", MEMORY_BUDGET_MB);
}

/** Parses the value of `--kv-budget`, in MB. */
export function parseKvBudget(text: string): number {
  return parseBudget(text, "key-value", KV_BUDGET_MB);
}

function parseBudget(
  text: string,
  what: string,
  { min, max }: { readonly min: number; readonly max: number },
): number {
  const megabytes = wholeNumber(text);
  if (megabytes !== undefined && megabytes >= min && megabytes <= max) return megabytes;
  throw new InvalidArgumentError(`A ${what} budget is a whole number of MB from ${min} to ${max}.`);
}

/** Days of history that are kept: more than a year is a backup's task. */
const HISTORY_DAYS = { min: 1, max: 366 } as const;

/** Parses the value of `--kv-history`, in days. */
export function parseHistoryDays(text: string): number {
  const days = wholeNumber(text);
  const { min, max } = HISTORY_DAYS;
  if (days !== undefined && days >= min && days <= max) return days;
  throw new InvalidArgumentError(`A history is a whole number of days from ${min} to ${max}.`);
}

/** Parses a size in MB that is at least one. */
export function parseMegabytes(text: string): number {
  const megabytes = wholeNumber(text);
  if (megabytes !== undefined && megabytes >= 1 && megabytes <= MEMORY_BUDGET_MB.max) {
    return megabytes;
  }
  throw new InvalidArgumentError(`It is a whole number of MB from 1 to ${MEMORY_BUDGET_MB.max}.`);
}

// A million millions: more than there is of anything, and its bytes are still a safe number.
const QUOTA_MAX = 1_000_000_000;

/** A bound of an account, or none. */
export type Quota = number | "none";

/** Parses a bound of an account. */
export function parseQuota(text: string): Quota {
  if (text === "none") return text; // and not null, which is an empty text to the parser of commands
  const count = wholeNumber(text);
  if (count !== undefined && count <= QUOTA_MAX) return count;
  throw new InvalidArgumentError(`It is a whole number from 0 to ${QUOTA_MAX}, or 'none'.`);
}

/** As people write one, and not all that JavaScript reads as one, such as `0x40`, `1e3` or nothing. */
function wholeNumber(text: string): number | undefined {
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}
