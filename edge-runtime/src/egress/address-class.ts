import ipaddr from "ipaddr.js";

/** Why an address is not part of the public internet, or `public`. */
export type AddressClass =
  | "public"
  | "private"
  | "loopback"
  | "link-local"
  | "carrier-grade NAT"
  | "multicast"
  | "unspecified"
  | "reserved"
  | "cloud metadata";

// Azure's metadata and DNS service has an address that looks public. The other clouds use link-local ones.
const METADATA_ADDRESSES: ReadonlySet<string> = new Set(["168.63.129.16"]);

/** Names of `ipaddr.js`. What is not listed here and is not `unicast` counts as reserved. */
const CLASS_BY_RANGE: Readonly<Record<string, AddressClass>> = {
  unicast: "public",
  private: "private",
  uniqueLocal: "private",
  loopback: "loopback",
  linkLocal: "link-local",
  carrierGradeNat: "carrier-grade NAT",
  multicast: "multicast",
  broadcast: "multicast",
  unspecified: "unspecified",
};

/** Judges an IPv4 or IPv6 address. IPv6 forms that carry an IPv4 address are judged by that one. */
export function classifyAddress(address: string): AddressClass {
  // A zone (`fe80::1%eth0`) says through which link, which only local addresses need.
  const parsed = ipaddr.parse(address.split("%")[0] ?? "");
  return parsed.kind() === "ipv4"
    ? classifyIpv4(parsed as ipaddr.IPv4)
    : classifyIpv6(parsed as ipaddr.IPv6);
}

/** One spelling for each address: what of IPv6 stands for an IPv4 address on this machine is that one. */
export function reachedAddress(address: string): string {
  return ipaddr.process(address.split("%")[0] ?? "").toNormalizedString();
}

function classifyIpv4(address: ipaddr.IPv4): AddressClass {
  if (METADATA_ADDRESSES.has(address.toString())) return "cloud metadata";
  // "This network": nothing in 0.0.0.0/8 but 0.0.0.0 itself has a meaning, and Linux routes it home.
  return CLASS_BY_RANGE[address.range()] ?? "reserved";
}

function classifyIpv6(address: ipaddr.IPv6): AddressClass {
  const embedded = embeddedIpv4(address);
  if (embedded !== undefined) return classifyIpv4(embedded);
  const range = CLASS_BY_RANGE[address.range()] ?? "reserved";
  // Only 2000::/3 is given out as public so far; `ipaddr.js` calls all that it does not know unicast.
  const isGlobal = (address.parts[0] ?? 0) >> 13 === 1;
  return range === "public" && !isGlobal ? "reserved" : range;
}

/** The IPv4 address that a gateway or the system itself would send to instead. */
function embeddedIpv4(address: ipaddr.IPv6): ipaddr.IPv4 | undefined {
  const bytes = address.toByteArray();
  const at = (offset: number): ipaddr.IPv4 => new ipaddr.IPv4(bytes.slice(offset, offset + 4));
  switch (address.range()) {
    case "ipv4Mapped":
    case "rfc6145":
      return at(12);
    case "rfc6052":
      // 64:ff9b::/96 alone: in 64:ff9b:1::/48, for local use, each network chooses where the address stands.
      return bytes.slice(4, 12).every((byte) => byte === 0) ? at(12) : undefined;
    case "6to4":
      return at(2);
    default:
  }
  // `::192.0.2.1`, long deprecated but still parsed everywhere; `::` and `::1` have their own classes.
  const isCompatible = bytes.slice(0, 12).every((byte) => byte === 0);
  const isSpecial = address.range() === "unspecified" || address.range() === "loopback";
  return isCompatible && !isSpecial ? at(12) : undefined;
}
