import type { HeldEntry, Key } from "../entry.ts";
import { KvError } from "../errors.ts";
import { Revision, type NamespaceId } from "../names.ts";
import type { Replica } from "../replica/replica.ts";
import { contentOf } from "../values/held-value.ts";
import type { ContentName } from "../values/value-blobs.ts";
import { ValueRead, type EntryElsewhere, type Look, type ReadStep } from "./value-read.ts";

/** How the content of a value is opened that is not in the replica, and given up. */
export interface ContentSource<Content> {
  open(content: ContentName): Promise<Content>;
  /** Throws when the values of these entries, which may be others after each fetch, should not all be opened. */
  check?(entries: Look["entries"]): void;
  close(content: Content): Promise<void>;
}

/** Entries as of one revision, and what was opened for those whose values are not in the replica. */
export interface EntriesRead<Content> {
  readonly revision: Revision;
  readonly entries: ReadonlyArray<HeldEntry | undefined>;
  /** The replica still holds them so. */
  readonly isCurrent: boolean;
  readonly contents: ReadonlyMap<Key, Content>;
}

/** Reads entries with their values, wherever these are: carries out what a `ValueRead` decides. */
export class EntryReader {
  readonly #replica: Replica;
  readonly #passed: (namespace: NamespaceId, revision: Revision) => Promise<void>;

  constructor(parts: {
    readonly replica: Replica;
    /** Resolves when the replica holds a later revision; rejected when it takes too long. */
    readonly passed: (namespace: NamespaceId, revision: Revision) => Promise<void>;
  }) {
    this.#replica = parts.replica;
    this.#passed = parts.passed;
  }

  /**
   * Reads the keys of a namespace that is held. The caller closes the contents. Rejected with what the replica
   * and the source fail with, and with `replica_behind`; then nothing stays open.
   */
  async read<Content>(
    place: { readonly namespace: NamespaceId; readonly keys: ReadonlyArray<Key> },
    source: ContentSource<Content>,
  ): Promise<EntriesRead<Content>> {
    const { namespace, keys } = place;
    const read = new ValueRead();
    let contents = new Map<Key, Content>();
    let look = this.#look(namespace, keys);
    const lookAgain = (): ReadStep => read.looked((look = this.#look(namespace, keys)));
    let step = read.looked(look);
    let failure: unknown;
    for (;;) {
      switch (step.kind) {
        case "answer":
          return { ...step.look, isCurrent: step.isCurrent, contents };
        case "fail":
          throw failure;
        case "wait":
          await this.#passed(namespace, step.past);
          step = lookAgain();
          break;
        case "fetch":
          await closeAll(contents, source);
          contents = new Map();
          try {
            source.check?.(look.entries);
            for (const entry of step.entries) {
              contents.set(entry.key, await source.open(contentName(namespace, entry)));
            }
            step = lookAgain();
          } catch (error) {
            await closeAll(contents, source);
            contents = new Map();
            failure = error;
            const isGone = error instanceof KvError && error.code === "value_gone";
            step = read.failed(isGone ? { at: error.found } : undefined);
          }
          break;
      }
    }
  }

  #look(namespace: NamespaceId, keys: ReadonlyArray<Key>): Look {
    // All in one turn, so that they are of one revision.
    const entries = keys.map((key) => this.#replica.get(namespace, key));
    return { revision: this.#replica.revision(namespace) ?? NONE, entries };
  }
}

const NONE = Revision.parse(0);

async function closeAll<Content>(
  contents: EntriesRead<Content>["contents"],
  source: ContentSource<Content>,
): Promise<void> {
  for (const content of contents.values()) await source.close(content);
}

function contentName(namespace: NamespaceId, { key, value }: EntryElsewhere): ContentName {
  return contentOf(namespace, key, value);
}
