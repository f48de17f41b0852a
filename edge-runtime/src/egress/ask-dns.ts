import type { LookupAddress } from "node:dns";
import { Resolver } from "node:dns/promises";
import { LIMITS } from "../limits.ts";
import type { Resolve } from "./egress-policy.ts";

/**
 * Finds addresses by asking DNS servers: those of the system, or these, such as `192.0.2.1:53`. For names that tenants
 * choose: the system's own look-up takes one of two threads that the process has for it, so a few names whose
 * servers never answer would keep everybody's waiting, for minutes.
 */
export function askDns(servers?: ReadonlyArray<string>): Resolve {
  return async (host) => {
    // One for each look-up, because all that one has under way are given up together.
    const resolver = new Resolver({
      timeout: LIMITS.egressQuestionMs,
      tries: LIMITS.egressQuestionsMax,
    });
    if (servers !== undefined) resolver.setServers(servers);
    const timer = setTimeout(() => resolver.cancel(), LIMITS.egressDnsMs);
    try {
      return together(
        await Promise.allSettled([
          resolver.resolve4(host).then((found) => found.map(addressOf(4))),
          resolver.resolve6(host).then((found) => found.map(addressOf(6))),
        ]),
      );
    } finally {
      clearTimeout(timer);
    }
  };
}

function addressOf(family: 4 | 6): (address: string) => LookupAddress {
  return (address) => ({ address, family });
}

/** What either question found. Throws the reason of the first one when neither did. */
function together(
  answers: ReadonlyArray<PromiseSettledResult<ReadonlyArray<LookupAddress>>>,
): ReadonlyArray<LookupAddress> {
  const found = answers.flatMap((each) => (each.status === "fulfilled" ? each.value : []));
  const [failure] = answers.flatMap((each) => (each.status === "rejected" ? [each.reason] : []));
  if (found.length === 0 && failure !== undefined) throw failure;
  return found;
}
