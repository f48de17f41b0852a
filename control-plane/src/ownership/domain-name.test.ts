import { expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { HostNames } from "../routes/host-names.ts";
import { parseDomainName } from "./domain-name.ts";

const HOST_NAMES = new HostNames({ baseDomain: "apps.example.net", publicPort: 80 });
const LONG_LABEL = "a".repeat(63);
// With its three dots as long as a domain may be.
const LONGEST = [LONG_LABEL, LONG_LABEL, LONG_LABEL, "b".repeat(44)].join(".");

test.each([
  ["example.com", "example.com"],
  [" Example.COM. ", "example.com"],
  ["a-b.example.co.uk", "a-b.example.co.uk"],
  ["münchen.example", "xn--mnchen-3ya.example"],
  ["MÜNCHEN.example.", "xn--mnchen-3ya.example"],
  ["xn--mnchen-3ya.example", "xn--mnchen-3ya.example"],
  ["例え。テスト", "xn--r8jz45g.xn--zckzah"],
  ["example.net", "example.net"],
  ["otherapps.example.net", "otherapps.example.net"],
  [LONGEST, LONGEST],
])("domain name: %j is kept as %j", (text, name) => {
  expect(parseDomainName(text, HOST_NAMES)).toBe(name);
});

test.each([
  ["", "no host name"],
  [".", "no host name"],
  ["com", "top-level domain"],
  ["localhost.", "top-level domain"],
  ["*.example.com", "without '*'"],
  ["*", "without '*'"],
  ["192.0.2.1", "an IP address is no domain"],
  ["192.0.2.1.", "an IP address is no domain"],
  ["[2001:db8::1]", "an IP address is no domain"],
  ["2001:db8::1", "an IP address is no domain"],
  ["127.1", "an IP address is no domain"],
  ["0x7f.0x1", "an IP address is no domain"],
  ["１２７.0.0.1", "an IP address is no domain"],
  ["https://example.com", "without a scheme"],
  ["example.com/path", "without a scheme"],
  ["example.com:443", "without a scheme"],
  ["me@example.com", "without a scheme"],
  ["example..com", "no host name"],
  ["example.com..", "no host name"],
  ["-a.example.com", "no host name"],
  ["_dmarc.example.com", "no host name"],
  ["two words.example", "no host name"],
  ["a\0b.example", "no form in ASCII"],
  ["xn--a.example", "no Punycode"],
  ["shop.xn--99999999999.com", "no Punycode"],
  [`${"a".repeat(64)}.example`, "no host name"],
  [`a${LONGEST}`, `has ${LIMITS.domainCharactersMax + 1} characters`],
  ["apps.example.net", "base domain of this Atoll"],
  ["shop.apps.example.net", "base domain of this Atoll"],
  ["a.b.APPS.example.net.", "base domain of this Atoll"],
])("domain name: %j is refused: %s", (text, reason) => {
  const refusal = expect.objectContaining({
    code: "domain_invalid",
    message: expect.stringContaining(reason),
  });
  expect(() => parseDomainName(text, HOST_NAMES)).toThrow(refusal);
});

test("domain name: what is refused is told without what a terminal would obey", () => {
  expect(() => parseDomainName("a\u001b[31m\u202e.example", HOST_NAMES)).toThrow(
    /^The domain 'a \[31m \.example' can't be claimed/,
  );
});
