import { isIP } from "node:net";
import { domainToASCII, domainToUnicode } from "node:url";
import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { HostNames } from "../routes/host-names.ts";
import { isAtOrBelow } from "./ownership.ts";
import { DomainName } from "./schemas.ts";

/**
 * The form in which domains are kept and compared: in lower case and ASCII, without a dot at the end. Throws
 * `domain_invalid` for what nobody can claim; without `hostNames` the base domain is not known.
 */
export function parseDomainName(text: string, hostNames?: HostNames): DomainName {
  const bare = text.trim().toLowerCase().replace(/\.$/, "");
  const name = /^[\x20-\x7e]*$/.test(bare) ? bare : domainToASCII(bare);
  const reason = formProblem(bare, name) ?? claimProblem(name, hostNames?.baseDomain);
  if (reason === undefined) return DomainName.parse(name);
  throw new ControlPlaneError(
    "domain_invalid",
    `The domain '${printable(text)}' can't be claimed: ${reason}`,
  );
}

/** Text of strangers as it may be shown in a terminal. */
export function printable(text: string): string {
  const shown = text.replaceAll(/[\p{C}\p{Z}]/gu, " ");
  return shown.length <= SHOWN_CHARACTERS ? shown : `${shown.slice(0, SHOWN_CHARACTERS)}…`;
}

const SHOWN_CHARACTERS = 200;

function formProblem(bare: string, name: string): string | undefined {
  if (isIP(bare.replace(/^\[(.*)\]$/, "$1")) !== 0 || /(^|\.)(\d+|0x[0-9a-f]*)$/.test(name)) {
    return "an IP address is no domain";
  }
  if (bare.includes("*")) return "a domain stands for all that lies below it, without '*'";
  if (/[:/?#@\\]/.test(bare)) return "it is a name alone, without a scheme, port or path";
  if (bare !== "" && name === "") return "it has no form in ASCII";
  if (name.length > LIMITS.domainCharactersMax) {
    return `it has ${name.length} characters, and the limit is ${LIMITS.domainCharactersMax}`;
  }
  const isName = name
    .split(".")
    .every((label) => /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(label));
  if (!isName) return "it is no host name";
  // What begins so and can't be decoded is refused or rewritten by browsers: it would be nobody's.
  const isDecoded = !/(^|\.)xn--/.test(domainToUnicode(name));
  return isDecoded ? undefined : "a label that begins with 'xn--' is no Punycode";
}

function claimProblem(name: string, baseDomain: string | undefined): string | undefined {
  if (baseDomain !== undefined && isAtOrBelow(name, baseDomain)) {
    return `'${baseDomain}' is the base domain of this Atoll, which all accounts share`;
  }
  // Who can set records of a public suffix with several labels, such as `co.uk`, runs it.
  return name.includes(".") ? undefined : "a name without a dot is a top-level domain";
}
