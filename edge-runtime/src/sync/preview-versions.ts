import {
  decodeMessage,
  isSignedState,
  Preview,
  PreviewLabel,
  type DesiredWorker,
  type WorkerKey,
} from "@atoll/control-plane/contract";
import type { Clock } from "@atoll/kv-store";
import { EdgeError } from "../errors.ts";
import type { Activation, Activator } from "../ingress/ingress.ts";
import { previewNameOf, type TargetKey, workerOfTarget } from "../ingress/target-key.ts";
import { LIMITS } from "../limits.ts";
import { workerKey } from "./state-follower.ts";

/** What the control plane says of a preview, as it was signed. */
interface SignedPreview {
  readonly body: Uint8Array;
  readonly signature: Uint8Array;
}

export interface PreviewVersionsOptions {
  readonly activator: Pick<Activator, "activate">;
  /** Asks the control plane; resolves with `undefined` when there is no such preview. */
  readonly fetchPreview: (
    worker: WorkerKey,
    label: PreviewLabel,
  ) => Promise<SignedPreview | undefined>;
  readonly fleetKey: string;
  /** Makes a version run here on demand. Resolves with the target of its requests. */
  readonly open: (worker: DesiredWorker) => Promise<TargetKey>;
  readonly clock: Clock;
}

/** What a label led to when it was asked about last. */
interface Answer {
  readonly worker: DesiredWorker | undefined;
  readonly atMs: number;
}

/**
 * Answers requests to previews, `<worker>@preview:<label>`: finds out which version that is, brings it to this
 * node, and starts its cell. A node asks again when its answer is older than `LIMITS.previewFreshMs`, because an
 * alias may have moved; while nobody answers it goes on with what it knows.
 */
export class PreviewVersions implements Pick<Activator, "activate"> {
  readonly #options: PreviewVersionsOptions;
  /** The least recently asked about first. */
  readonly #answers = new Map<TargetKey, Answer>();
  readonly #asking = new Map<TargetKey, Promise<Answer>>();

  constructor(options: PreviewVersionsOptions) {
    this.#options = options;
  }

  /**
   * Rejected with `preview_unknown`, with `preview_unavailable` when nobody can be asked, and as the version's
   * own activation is.
   */
  async activate(target: TargetKey): Promise<Activation> {
    const begunMs = performance.now();
    const { worker } = await this.#find(target);
    if (worker === undefined) throw unknown(target);
    const version = await this.#options.open(worker);
    const activation = await this.#options.activator.activate(version);
    if (activation.coldMs === undefined) return activation;
    return { ...activation, coldMs: Math.max(1, Math.round(performance.now() - begunMs)) };
  }

  async #find(target: TargetKey): Promise<Answer> {
    const known = this.#answers.get(target);
    const nowMs = this.#options.clock.monotonicMs();
    if (known !== undefined && nowMs - known.atMs < LIMITS.previewFreshMs) return known;
    const asking = this.#asking.get(target) ?? this.#ask(target, known);
    this.#asking.set(target, asking);
    try {
      return await asking;
    } finally {
      this.#asking.delete(target);
    }
  }

  async #ask(target: TargetKey, known: Answer | undefined): Promise<Answer> {
    if (this.#asking.size >= LIMITS.previewLookupsMax) {
      // Names that others guess must not end what somebody looks at.
      if (known?.worker !== undefined) return known;
      throw new EdgeError("preview_unavailable", "too many previews are looked up already");
    }
    const label = PreviewLabel.safeParse(previewNameOf(target));
    if (!label.success) throw unknown(target);
    const worker = workerOfTarget(target);
    try {
      const signed = await this.#options.fetchPreview(worker, label.data);
      return this.#keep(target, signed && this.#openSigned(signed, { worker, label: label.data }));
    } catch (cause) {
      if (known?.worker !== undefined) return known;
      throw new EdgeError("preview_unavailable", `${target} can't be looked up now`, { cause });
    }
  }

  #openSigned(
    signed: SignedPreview,
    asked: { readonly worker: WorkerKey; readonly label: PreviewLabel },
  ): DesiredWorker {
    if (!isSignedState(this.#options.fleetKey, signed)) {
      throw new EdgeError("state_refused", "the preview is not signed by this fleet's key");
    }
    const { worker, label } = decodeMessage(Preview, signed.body);
    if (workerKey(worker) === asked.worker && label === asked.label) return worker;
    throw new EdgeError("state_refused", "the preview is not the one that was asked for");
  }

  #keep(target: TargetKey, worker: DesiredWorker | undefined): Answer {
    const answer = { worker, atMs: this.#options.clock.monotonicMs() };
    this.#answers.delete(target);
    this.#answers.set(target, answer);
    for (const oldest of this.#answers.keys()) {
      if (this.#answers.size <= LIMITS.previewAnswersMax) break;
      this.#answers.delete(oldest);
    }
    return answer;
  }
}

function unknown(target: TargetKey): EdgeError {
  return new EdgeError("preview_unknown", `there is no preview ${target}`);
}
