import { lookup } from "node:dns/promises";
import type { LookupAddress } from "node:dns";
import { networkInterfaces } from "node:os";
import { EdgeError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { type AddressClass, classifyAddress, reachedAddress } from "./address-class.ts";
import { askDns } from "./ask-dns.ts";
import type { Destination } from "./destination.ts";

/** All addresses of a name. Rejects when there are none. */
export type Resolve = (host: string) => Promise<ReadonlyArray<LookupAddress>>;

export interface EgressPolicyOptions {
  /**
   * Names that workers may reach wherever they lead, as `host` (every port) or `host:port`; an IPv6
   * address in brackets when a port follows. For services of one's own in a private network.
   */
  readonly allow?: ReadonlyArray<string>;
  /** By default DNS is asked, and the system where a host is allowed by name. */
  readonly resolve?: Resolve;
  /** Where the node itself is reached from outside, besides the ports of the web. */
  readonly servedPorts?: ReadonlyArray<number>;
  /** The addresses of this machine; by default those that its interfaces have. */
  readonly ownAddresses?: () => ReadonlyArray<string>;
}

/** Where a connection is to go. */
export type Goal = Pick<Destination, "host" | "port">;

// Mail to the world is what stolen or careless code sends first, and what gets a node's address listed.
const PORTS_REFUSED: ReadonlySet<number> = new Set([25]);
const WEB_PORTS: ReadonlyArray<number> = [80, 443];

/** Decides what cells may reach: public addresses, and hosts that are allowed by name. */
export class EgressPolicy {
  readonly #allowed: ReadonlySet<string>;
  readonly #resolvePublic: Resolve;
  readonly #resolve: Resolve;
  readonly #servedPorts: ReadonlySet<number>;
  readonly #ownAddresses: () => ReadonlyArray<string>;

  constructor(options: EgressPolicyOptions = {}) {
    this.#allowed = new Set((options.allow ?? []).map((name) => name.toLowerCase()));
    this.#resolvePublic = options.resolve ?? askDns();
    // These names are the operator's, who may have them in a file of the system's.
    this.#resolve = options.resolve ?? ((host) => lookup(host, { all: true }));
    this.#servedPorts = new Set([...WEB_PORTS, ...(options.servedPorts ?? [])]);
    this.#ownAddresses = options.ownAddresses ?? addressesOfMachine;
  }

  /** Whether the host is allowed by name, so that its addresses are not judged. */
  isAllowedByName({ host, port }: Destination): boolean {
    const bracketed = host.includes(":") ? `[${host}]` : host;
    return (
      this.#allowed.has(host) ||
      this.#allowed.has(bracketed) ||
      this.#allowed.has(`${bracketed}:${port}`)
    );
  }

  /** Refuses what needs no look-up to be refused. Throws `egress_denied`. */
  admit(destination: Destination): void {
    const { host, port, isAddress } = destination;
    if (PORTS_REFUSED.has(port)) {
      throw denied(host, `port ${port} (mail between servers) is closed to workers`);
    }
    if (this.isAllowedByName(destination)) return;
    if (isAddress) this.#judge(destination, [host]);
    // These names mean the machine itself whatever a resolver says (RFC 6761).
    if (host === "localhost" || host.endsWith(".localhost")) {
      throw deniedClass(host, "loopback", "this node itself");
    }
  }

  /**
   * The addresses of a name, all of them public: a name with a single private address is refused, so the
   * answer does not depend on which one would have been tried first. Rejected with `egress_denied`, or
   * `egress_unreachable` when the name has no address.
   */
  async resolvePublic(goal: Goal): Promise<ReadonlyArray<LookupAddress>> {
    const addresses = await addressesOf(goal.host, this.#resolvePublic);
    this.#judge(
      goal,
      addresses.map(({ address }) => address),
    );
    return addresses;
  }

  /** The addresses of a name that is allowed as such. Rejected with `egress_unreachable`. */
  resolve(host: string): Promise<ReadonlyArray<LookupAddress>> {
    return addressesOf(host, this.#resolve);
  }

  #judge({ host, port }: Goal, addresses: ReadonlyArray<string>): void {
    for (const address of addresses) {
      const addressClass = classifyAddress(address);
      if (addressClass !== "public") throw deniedClass(host, addressClass, address);
    }
    if (this.#servedPorts.has(port)) return;
    // What comes from the machine itself passes the firewall that keeps all others from its ports.
    const own = new Set(this.#ownAddresses().map(reachedAddress));
    if (!addresses.some((address) => own.has(reachedAddress(address)))) return;
    const served = [...this.#servedPorts].join(", ");
    throw denied(
      host,
      `its address is this node's own, of which workers reach the ports ${served} only, unless the node ` +
        "allows the host by name",
    );
  }
}

async function addressesOf(host: string, resolve: Resolve): Promise<ReadonlyArray<LookupAddress>> {
  const timeout = Promise.withResolvers<never>();
  const timer = setTimeout(() => timeout.reject(new Error("timed out")), LIMITS.egressResolveMs);
  try {
    const addresses = await Promise.race([resolve(host), timeout.promise]);
    if (addresses.length === 0) throw new Error("no address");
    return addresses;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new EdgeError(
      "egress_unreachable",
      `the name '${host}' could not be resolved: ${reason}`,
      { cause },
    );
  } finally {
    clearTimeout(timer);
  }
}

/** As of now: a machine's addresses come and go. */
function addressesOfMachine(): ReadonlyArray<string> {
  return Object.values(networkInterfaces()).flatMap((all) =>
    (all ?? []).map((each) => each.address),
  );
}

function deniedClass(host: string, addressClass: AddressClass, address: string): EdgeError {
  const which = address === host ? "" : ` (${address})`;
  return denied(
    host,
    `its address${which} is ${addressClass}, and workers reach public addresses only, unless the node ` +
      "allows the host by name",
  );
}

function denied(host: string, rule: string): EdgeError {
  return new EdgeError("egress_denied", `a worker may not reach '${host}': ${rule}`);
}
