import { Resolver } from "node:dns/promises";
import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";

/** Finds out what TXT records say. */
export interface TxtResolver {
  /**
   * The texts of a name's TXT records; none when it has none, or does not exist. Rejected with
   * `domain_lookup_failed`.
   */
  resolve(name: string): Promise<ReadonlyArray<string>>;
}

/** Asks DNS servers: those of the system unless told otherwise. They, and what they say, are not trusted to end. */
export class DnsTxtResolver implements TxtResolver {
  readonly #servers: ReadonlyArray<string> | undefined;

  /** `servers` are addresses such as `192.0.2.1:53` or `[2001:db8::1]:53`. */
  constructor(servers?: ReadonlyArray<string>) {
    this.#servers = servers;
  }

  async resolve(name: string): Promise<ReadonlyArray<string>> {
    // One for each look-up, because all that one has under way are given up together.
    const resolver = new Resolver({
      timeout: LIMITS.domainAnswerMs,
      tries: LIMITS.domainQuestionsMax,
    });
    if (this.#servers !== undefined) resolver.setServers(this.#servers);
    const timer = setTimeout(() => resolver.cancel(), LIMITS.domainLookupMs);
    try {
      const records = await resolver.resolveTxt(name);
      return records.map((pieces) => pieces.join(""));
    } catch (error) {
      return absent(name, error);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** What a failed look-up means: no records, or nothing that can be known. */
function absent(name: string, error: unknown): ReadonlyArray<string> {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (code === "ENOTFOUND" || code === "ENODATA") return [];
  if (!(code in REASONS)) throw error;
  throw new ControlPlaneError(
    "domain_lookup_failed",
    `The TXT records of ${name} can't be looked up now: the DNS resolver ${REASONS[code]}. Try again later.`,
    { cause: error },
  );
}

// Node's codes of what a resolver answers, or does not.
const REASONS: Readonly<Record<string, string>> = {
  ESERVFAIL: "answered SERVFAIL",
  EREFUSED: "refused to answer",
  ENOTIMP: "does not know TXT records",
  EFORMERR: "did not understand the question",
  EBADRESP: "answered what is no DNS message",
  EBADNAME: "answered with a bad name",
  ETIMEOUT: "did not answer in time",
  ECANCELLED: `did not answer within ${LIMITS.domainLookupMs / 1_000} s`,
  ECONNREFUSED: "can't be reached",
  EOF: "ended the connection",
};
