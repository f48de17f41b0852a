import { hash } from "node:crypto";
import { LIMITS } from "../limits.ts";
import type { Preflight, PreflightCandidate, PreflightResult } from "./preflight.ts";

/**
 * Does not start again what has started: a redeploy of what did not change is the commonest one. What failed is
 * tried anew. It remembers while the process lives, because with the next one another workerd may have come.
 */
export class RememberedPreflight implements Preflight {
  readonly #preflight: Preflight;
  /** What started, by digest, the one that was asked for last at the end. */
  readonly #started = new Map<string, PreflightResult>();

  constructor(preflight: Preflight) {
    this.#preflight = preflight;
  }

  get newestCompatibilityDate(): string {
    return this.#preflight.newestCompatibilityDate;
  }

  async check(candidate: PreflightCandidate): Promise<PreflightResult> {
    const digest = digestOf(candidate);
    const result = this.#started.get(digest) ?? (await this.#preflight.check(candidate));
    if (result.kind === "started") this.#remember(digest, result);
    return result;
  }

  #remember(digest: string, result: PreflightResult): void {
    this.#started.delete(digest);
    this.#started.set(digest, result);
    for (const oldest of this.#started.keys()) {
      if (this.#started.size <= LIMITS.preflightsRememberedMax) break;
      this.#started.delete(oldest);
    }
  }
}

/**
 * Of all that a start depends on: code by its hashes, bindings, variables and secrets, how static files are served,
 * and what the account may take. Not which files: none is read before a request asks for it.
 */
function digestOf({ version, secrets, settings }: PreflightCandidate): string {
  const { id: _id, number: _number, createdAt: _createdAt, tag: _tag, ...content } = version;
  const { manifest: _manifest, ...serving } = content.assets ?? {};
  const assets = content.assets && serving;
  return hash("sha256", JSON.stringify([{ ...content, assets }, secrets, settings]));
}
