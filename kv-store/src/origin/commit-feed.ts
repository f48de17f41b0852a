import type { Clock } from "../clock.ts";
import type { KvRecord } from "../entry.ts";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { Log } from "../log.ts";
import type { NamespaceId, Revision } from "../names.ts";
import type { CommitListener } from "./origin.ts";

export interface CommitFeedOptions {
  /** Reads the log up to the bounds of a page; `undefined` when it no longer reaches back so far. */
  readonly readRecords: (
    namespace: NamespaceId,
    after: Revision,
  ) => Promise<ReadonlyArray<KvRecord> | undefined>;
  readonly clock: Clock;
  readonly log: Log;
}

/** What is known of a namespace's commits. */
interface Position {
  /** Records up to this revision were told, or came before anybody asked. */
  told: Revision;
  /** The history reaches this far at least. */
  head: Revision;
  /** When somebody last asked about the namespace, by the monotonic clock. */
  askedMs: number;
  /** This process is committing to it: nobody else is, and the outcome is known soon. */
  isCommitting: boolean;
  isReading: boolean;
}

/**
 * Tells listeners of commits in the order of each namespace's revisions, whichever control plane made them:
 * those of this process at once, those of others when it is heard that there are any, by reading the log,
 * once for all listeners. Others' commits are read only to namespaces that somebody asks about.
 */
export class CommitFeed {
  readonly #options: CommitFeedOptions;
  readonly #listeners = new Set<CommitListener>();
  /** The longest unused one first. */
  readonly #positions = new Map<NamespaceId, Position>();
  #isClosed = false;

  constructor(options: CommitFeedOptions) {
    this.#options = options;
  }

  onCommit(listener: CommitListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The namespaces that somebody asks about. */
  followed(): NamespaceId[] {
    const followed = [...this.#positions].filter(([, position]) => this.#isFollowed(position));
    return followed.map(([namespace]) => namespace);
  }

  /** Somebody was told how far the history reaches: from here on it is followed for a while. */
  asked(namespace: NamespaceId, revision: Revision): void {
    const position = this.#use(namespace, revision);
    position.askedMs = this.#options.clock.monotonicMs();
    this.heard(namespace, revision);
  }

  /** The history reaches this far, says whoever committed, or the database. */
  heard(namespace: NamespaceId, revision: Revision): void {
    const position = this.#positions.get(namespace);
    if (position === undefined) return;
    if (revision > position.head) position.head = revision;
    if (this.#isFollowed(position)) this.#catchUp(namespace, position);
  }

  /** This process has locked the namespace, whose latest revision is `after`, and adds to it. */
  commitBegins(namespace: NamespaceId, after: Revision): void {
    const position = this.#use(namespace, after);
    position.isCommitting = true;
    // Nobody else commits meanwhile, so a history that ends before what was told is an older copy's.
    if (after < position.told) position.told = position.head = after;
  }

  committed(namespace: NamespaceId, records: ReadonlyArray<KvRecord>): void {
    const [first, last] = [records[0], records.at(-1)];
    if (first === undefined || last === undefined) return;
    const position = this.#use(namespace, (first.revision - 1) as Revision); // the one before
    position.isCommitting = false;
    if (last.revision > position.head) position.head = last.revision;
    // What others committed before is told before, if anybody wants to know.
    const isNext = first.revision <= position.told + 1;
    if (isNext || !this.#isFollowed(position)) this.#tell(namespace, position, records);
    if (this.#isFollowed(position)) this.#catchUp(namespace, position);
  }

  /** The commit failed, or its outcome is not known. */
  commitFailed(namespace: NamespaceId): void {
    const position = this.#positions.get(namespace);
    if (position === undefined) return;
    position.isCommitting = false;
    if (this.#isFollowed(position)) this.#catchUp(namespace, position);
  }

  /** The namespace is gone. */
  forget(namespace: NamespaceId): void {
    this.#positions.delete(namespace);
  }

  /** Tells nothing any more. */
  close(): void {
    this.#isClosed = true;
    this.#listeners.clear();
  }

  #isFollowed(position: Position): boolean {
    return this.#options.clock.monotonicMs() - position.askedMs < LIMITS.originFollowMs;
  }

  /** The namespace's position; a new one has told all up to `revision`. */
  #use(namespace: NamespaceId, revision: Revision): Position {
    const position: Position = this.#positions.get(namespace) ?? {
      told: revision,
      head: revision,
      askedMs: -Infinity,
      isCommitting: false,
      isReading: false,
    };
    // Behind the others.
    this.#positions.delete(namespace);
    this.#positions.set(namespace, position);
    const [oldest] = this.#positions.keys();
    if (this.#positions.size > LIMITS.originPositionsMax && oldest !== undefined) {
      this.#positions.delete(oldest);
    }
    return position;
  }

  /** Reads and tells what is missing, unless that is under way or about to be known. */
  #catchUp(namespace: NamespaceId, position: Position): void {
    if (position.isReading || position.isCommitting || position.told >= position.head) return;
    position.isReading = true;
    void this.#readMissing(namespace, position);
  }

  async #readMissing(namespace: NamespaceId, position: Position): Promise<void> {
    try {
      while (!this.#isClosed && position.told < position.head) {
        const records = await this.#options.readRecords(namespace, position.told);
        // Past the log's end listeners help themselves, with a snapshot.
        if (records === undefined) position.told = position.head;
        else if (records.length === 0) return;
        else this.#tell(namespace, position, records);
      }
    } catch (err) {
      const isGone = err instanceof KvError && err.code === "namespace_not_found";
      // The next question about the namespace, or the next poll, tries again.
      if (!isGone && !this.#isClosed) {
        this.#options.log.warn({ err, namespace }, "commits of others could not be read");
      }
    } finally {
      // In the same turn as the last look at `head`: whoever moves it later reads again.
      position.isReading = false;
    }
  }

  #tell(namespace: NamespaceId, position: Position, records: ReadonlyArray<KvRecord>): void {
    const news = records.filter(({ revision }) => revision > position.told);
    const last = news.at(-1);
    if (last === undefined) return;
    position.told = last.revision;
    for (const listener of this.#listeners) {
      try {
        listener(namespace, news);
      } catch (err) {
        // The commit stands whatever a listener thinks of it: it finds the records in the log.
        this.#options.log.error({ err, namespace }, "a listener of commits failed");
      }
    }
  }
}
