import type { NamespaceId, Revision } from "../names.ts";

export type ReadHeads = (
  namespaces: ReadonlyArray<NamespaceId>,
) => Promise<ReadonlyMap<string, Revision>>;

interface Question {
  readonly answer: Promise<Revision | undefined>;
  resolve(revision: Revision | undefined): void;
  reject(error: unknown): void;
}

/**
 * Answers questions for the latest revision of a namespace, all that come up in one turn, or while a read
 * is under way, with one read: every connected node asks for all its namespaces twice a second. An answer
 * is never older than its question.
 */
export class HeadReads {
  readonly #read: ReadHeads;
  /** Questions for the next read. */
  #questions = new Map<NamespaceId, Question>();
  #isScheduled = false;

  constructor(read: ReadHeads) {
    this.#read = read;
  }

  /** `undefined` when there is no such namespace. */
  ask(namespace: NamespaceId): Promise<Revision | undefined> {
    const known = this.#questions.get(namespace);
    if (known !== undefined) return known.answer;
    const { promise: answer, resolve, reject } = Promise.withResolvers<Revision | undefined>();
    this.#questions.set(namespace, { answer, resolve, reject });
    this.#schedule();
    return answer;
  }

  #schedule(): void {
    if (this.#isScheduled || this.#questions.size === 0) return;
    this.#isScheduled = true;
    setImmediate(() => void this.#answerAll());
  }

  async #answerAll(): Promise<void> {
    const questions = this.#questions;
    this.#questions = new Map();
    try {
      const heads = await this.#read([...questions.keys()]);
      for (const [namespace, question] of questions) question.resolve(heads.get(namespace));
    } catch (error) {
      for (const question of questions.values()) question.reject(error);
    }
    this.#isScheduled = false;
    this.#schedule();
  }
}
