import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Key, type KvOperation } from "../entry.ts";
import { NamespaceId, Revision } from "../names.ts";
import { LmdbReplica } from "../replica/lmdb-replica.ts";
import type { StoreAction } from "../replica/replica.ts";
import { ManualClock } from "./manual-clock.ts";
import { RecordedLog } from "./recorded-log.ts";
import { TrackedState } from "./tracked-state.ts";

export const NAMESPACE = NamespaceId.parse("a".repeat(32));
export const OTHER = NamespaceId.parse("b".repeat(32));

/** A replica in a directory of its own, by a clock that a test turns, and what stores in it. */
export class ReplicaBench {
  readonly directory: string;
  readonly clock: ManualClock;
  replica: LmdbReplica;
  /** Says what state batches of NAMESPACE lead to, from the last snapshot that was stored whole. */
  state = new TrackedState();

  private constructor(parts: {
    readonly directory: string;
    readonly clock: ManualClock;
    readonly replica: LmdbReplica;
  }) {
    this.directory = parts.directory;
    this.clock = parts.clock;
    this.replica = parts.replica;
  }

  static async open(): Promise<ReplicaBench> {
    // A name with a dot: LMDB would otherwise take it for a file.
    const directory = await mkdtemp(join(tmpdir(), "atoll.replica-"));
    const clock = new ManualClock();
    const replica = await LmdbReplica.open({ directory, clock, log: new RecordedLog() });
    // The origin's clock shows what the node's does.
    replica.heard({ originMs: clock.nowMs(), echoMs: clock.monotonicMs() });
    return new ReplicaBench({ directory, clock, replica });
  }

  async close(): Promise<void> {
    await this.replica.close();
    await rm(this.directory, { recursive: true });
  }

  /** The next life of the replica; between the two `change` may do to its files what it likes. */
  async reopen(change: () => Promise<void> = async () => {}): Promise<void> {
    const { directory, clock } = this;
    await this.replica.close();
    await change();
    this.replica = await LmdbReplica.open({ directory, clock, log: new RecordedLog() });
  }

  textOf(key: string, namespace = NAMESPACE): string | undefined {
    const value = this.replica.get(namespace, key)?.value;
    return value?.kind === "inline" ? Buffer.from(value.bytes).toString() : undefined;
  }

  /** Stores a batch that leads where it says. */
  storeBatch(after: number, operations: ReadonlyArray<KvOperation>): Promise<void> {
    const { digest } = this.state.apply(operations);
    const revision = Revision.parse(after + operations.length);
    const batch = { kind: "batch", after: Revision.parse(after), revision, digest } as const;
    return this.replica.store(NAMESPACE, { ...batch, operations });
  }

  /** Hands over a whole snapshot without waiting in between, as the client does. */
  async storeSnapshot(
    namespace: NamespaceId,
    revision: number,
    pages: ReadonlyArray<ReadonlyArray<KvOperation>>,
  ): Promise<void> {
    if (namespace === NAMESPACE) {
      this.state = new TrackedState(revision);
      this.state.take(pages.flat());
    }
    await Promise.all(
      snapshotActions(revision, pages).map((action) => this.replica.store(namespace, action)),
    );
  }
}

/** The actions that bring a snapshot as of one revision, page by page. */
export function snapshotActions(
  revision: number,
  pages: ReadonlyArray<ReadonlyArray<KvOperation>>,
): StoreAction[] {
  const point = new TrackedState(revision).take(pages.flat());
  const actions: StoreAction[] = [{ kind: "snapshot-start", ...point }];
  let after: Key | null = null;
  for (const operations of pages) {
    const through = operations.at(-1)?.key ?? Key.parse("empty");
    const revisions = operations.map(() => Revision.parse(revision));
    actions.push({ kind: "snapshot-page", after, through, operations, revisions });
    after = through;
  }
  return [...actions, { kind: "snapshot-end", ...point, through: after }];
}

export function putText(key: string, text: string, expiresAt?: number): KvOperation {
  const value = { kind: "inline", bytes: Buffer.from(text) } as const;
  const expiry = expiresAt === undefined ? {} : { expiresAt };
  return { kind: "put", key: Key.parse(key), value, ...expiry };
}
