import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { classifyAddress } from "./address-class.ts";

describe("address class", () => {
  test.each([
    ["93.184.216.34", "public"],
    ["1.1.1.1", "public"],
    ["2606:4700:4700::1111", "public"],
    ["10.0.0.1", "private"],
    ["172.16.0.1", "private"],
    ["172.31.255.255", "private"],
    ["172.32.0.0", "public"],
    ["192.168.1.1", "private"],
    ["127.0.0.1", "loopback"],
    ["127.255.255.254", "loopback"],
    ["169.254.169.254", "link-local"],
    ["100.64.0.1", "carrier-grade NAT"],
    ["100.127.255.255", "carrier-grade NAT"],
    ["100.128.0.0", "public"],
    ["0.0.0.0", "unspecified"],
    ["0.1.2.3", "unspecified"],
    ["224.0.0.1", "multicast"],
    ["239.255.255.255", "multicast"],
    ["255.255.255.255", "multicast"],
    ["240.0.0.1", "reserved"],
    ["192.0.0.1", "reserved"],
    ["192.0.2.1", "reserved"],
    ["198.18.0.1", "reserved"],
    ["198.51.100.1", "reserved"],
    ["203.0.113.1", "reserved"],
    ["168.63.129.16", "cloud metadata"],
    ["::", "unspecified"],
    ["::1", "loopback"],
    ["fe80::1", "link-local"],
    ["fe80::1%eth0", "link-local"],
    ["fc00::1", "private"],
    ["fd00:ec2::254", "private"],
    ["fec0::1", "reserved"],
    ["ff02::1", "multicast"],
    ["2001:db8::1", "reserved"],
    ["2001::1", "reserved"],
    ["100::1", "reserved"],
    ["4000::1", "reserved"],
    ["::ffff:127.0.0.1", "loopback"],
    ["::ffff:a00:1", "private"],
    ["::ffff:93.184.216.34", "public"],
    ["::127.0.0.1", "loopback"],
    ["::a00:1", "private"],
    ["64:ff9b::10.0.0.1", "private"],
    ["64:ff9b::169.254.169.254", "link-local"],
    ["64:ff9b::93.184.216.34", "public"],
    ["64:ff9b:1::10.0.0.1", "reserved"],
    ["2002:7f00:1::", "loopback"],
    ["2002:a00:1::1", "private"],
    ["2002:5db8:d822::1", "public"],
    ["::ffff:0:10.0.0.1", "private"],
  ])("%s is %s", (address, addressClass) => {
    expect(classifyAddress(address)).toBe(addressClass);
  });

  test("is the same for an IPv4 address in each IPv6 form that carries it", () => {
    fc.assert(
      fc.property(fc.ipV4(), (address) => {
        const plain = classifyAddress(address);
        const [a = 0, b = 0, c = 0, d = 0] = address.split(".").map(Number);
        const high = ((a << 8) | b).toString(16);
        const low = ((c << 8) | d).toString(16);
        expect(classifyAddress(`::ffff:${high}:${low}`)).toBe(plain);
        expect(classifyAddress(`64:ff9b::${high}:${low}`)).toBe(plain);
        expect(classifyAddress(`2002:${high}:${low}::1`)).toBe(plain);
      }),
      { numRuns: 1_000 },
    );
  });
});
