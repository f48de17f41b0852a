import type { Clock } from "@atoll/kv-store";
import type { MiddlewareHandler } from "hono";
import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { callerOf } from "./authentication.ts";
import { type Rate, RateLimiter } from "./rate-limiter.ts";
import type { ApiEnvironment } from "./request-context.ts";

type Limit = MiddlewareHandler<ApiEnvironment>;

/** Whose requests are limited. */
export const LIMITED = ["address", "token"] as const;
type Limited = (typeof LIMITED)[number];

export type RequestRates = Readonly<Record<Limited, Rate>>;
export type RequestLimiters = Readonly<Record<Limited, RateLimiter>>;

const RATES: RequestRates = {
  address: { perSecond: LIMITS.addressRequestsPerSecond, burst: LIMITS.addressRequestsBurst },
  token: { perSecond: LIMITS.tokenRequestsPerSecond, burst: LIMITS.tokenRequestsBurst },
};

/** Counts addresses and tokens, by default up to the rates of `LIMITS`. */
export function createLimiters(clock: Clock, rates: RequestRates = RATES): RequestLimiters {
  const keysMax = LIMITS.rateLimitedKeysMax;
  return {
    address: new RateLimiter({ clock, rate: rates.address, keysMax }),
    token: new RateLimiter({ clock, rate: rates.token, keysMax }),
  };
}

/** What one address may ask, whoever it says that it is: goes before the check of tokens. */
export function limitAddresses({ address: limiter }: RequestLimiters): Limit {
  return async (context, next) => {
    const { address = "" } = callerOf(context);
    refuseAfter(limiter.take(networkOf(address)), "address");
    await next();
  };
}

/** What one API token may ask, from wherever. Runs after `requireToken`. */
export function limitTokens({ token: limiter }: RequestLimiters): Limit {
  return async (context, next) => {
    refuseAfter(limiter.take(context.var.principal.tokenId), "API token");
    await next();
  };
}

/** Whoever has one IPv6 address has the 2^64 others of its network. */
export function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined || !address.includes(":")) return mapped ?? address;
  const [head = "", tail] = address.split("::");
  const groups = head === "" ? [] : head.split(":");
  const tailCount = tail === undefined || tail === "" ? 0 : tail.split(":").length;
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - groups.length - tailCount);
  const all = [...groups, ...Array.from({ length: zeros }, () => "0"), ...(tail ?? "").split(":")];
  return `${all.slice(0, 4).join(":")}::/64`;
}

function refuseAfter(seconds: number, whose: string): void {
  if (seconds === 0) return;
  throw new ControlPlaneError(
    "rate_limited",
    `Too many requests by this ${whose}: try again in ${seconds} s`,
    { retryAfterSeconds: seconds },
  );
}
