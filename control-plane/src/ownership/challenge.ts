import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { printable } from "./domain-name.ts";
import type { Domain } from "./store.ts";

/** The TXT record by which a claim is proved. */
export interface Challenge {
  readonly type: "TXT";
  readonly name: string;
  readonly value: string;
}

/** A name of its own, so that nothing else is there, and an alias can lead to who runs the domain's records. */
export function challengeOf({ name, token }: Domain): Challenge {
  return {
    type: "TXT",
    name: `_atoll-challenge.${name}`,
    value: `atoll-domain-verification=${token}`,
  };
}

/** Refuses, with `domain_challenge_unmet`, TXT records of which none is the challenge's. */
export function requireMet({ name, value }: Challenge, records: ReadonlyArray<string>): void {
  const { domainRecordsMax } = LIMITS;
  if (records.slice(0, domainRecordsMax).includes(value)) return;
  throw new ControlPlaneError(
    "domain_challenge_unmet",
    `${name} ${describe(records)}, and one has to be '${value}'. What is new in DNS may take a while to be seen: verify again later.`,
  );
}

const SHOWN_RECORDS = 3;

function describe(records: ReadonlyArray<string>): string {
  const { length: count } = records;
  if (count === 0) return "has no TXT record yet";
  if (count > LIMITS.domainRecordsMax) {
    return `has ${count} TXT records, of which the first ${LIMITS.domainRecordsMax} are looked through`;
  }
  const shown = records.slice(0, SHOWN_RECORDS).map((text) => `'${printable(text)}'`);
  const more = count > SHOWN_RECORDS ? ` and ${count - SHOWN_RECORDS} more` : "";
  return `has the TXT ${count === 1 ? "record" : "records"} ${shown.join(", ")}${more}`;
}
