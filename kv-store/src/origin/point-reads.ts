import type { HistoryPoint, NamespaceId } from "../names.ts";

export type ReadPoints = (
  namespaces: ReadonlyArray<NamespaceId>,
) => Promise<ReadonlyMap<string, HistoryPoint>>;

interface Question {
  readonly answer: Promise<HistoryPoint | undefined>;
  resolve(point: HistoryPoint | undefined): void;
  reject(error: unknown): void;
}

/**
 * Answers questions where the history of a namespace stands, all that come up in one turn, or while a read
 * is under way, with one read: every connected node asks for all its namespaces twice a second. An answer
 * is never older than its question.
 */
export class PointReads {
  readonly #read: ReadPoints;
  /** Questions for the next read. */
  #questions = new Map<NamespaceId, Question>();
  #isScheduled = false;

  constructor(read: ReadPoints) {
    this.#read = read;
  }

  /** `undefined` when there is no such namespace. */
  ask(namespace: NamespaceId): Promise<HistoryPoint | undefined> {
    const known = this.#questions.get(namespace);
    if (known !== undefined) return known.answer;
    const { promise: answer, resolve, reject } = Promise.withResolvers<HistoryPoint | undefined>();
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
      const points = await this.#read([...questions.keys()]);
      for (const [namespace, question] of questions) question.resolve(points.get(namespace));
    } catch (error) {
      for (const question of questions.values()) question.reject(error);
    }
    this.#isScheduled = false;
    this.#schedule();
  }
}
