import type { Preflight, PreflightCandidate, PreflightResult } from "../preflight/preflight.ts";

/** A preflight whose answers a test chooses; it keeps what it was asked. */
export class ScriptedPreflight implements Preflight {
  newestCompatibilityDate = "2026-11-17";
  readonly candidates: PreflightCandidate[] = [];
  /** What the next checks answer, or how they fail. */
  answer: PreflightResult | Error = { kind: "started", startupMs: 7 };

  /** Happens while a worker is being started. */
  meanwhile: () => Promise<unknown> = () => Promise.resolve();

  async check(candidate: PreflightCandidate): Promise<PreflightResult> {
    this.candidates.push(candidate);
    await this.meanwhile();
    if (this.answer instanceof Error) throw this.answer;
    return this.answer;
  }
}
