import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Database, RootDatabase } from "lmdb";
import type { Clock } from "../clock.ts";
import { encodeCursor, listRange, type KeyRange } from "../cursor.ts";
import type { HeldEntry, Key, KvListing, KvPage, ListOptions } from "../entry.ts";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { Log } from "../log.ts";
import { NamespaceId, type HistoryPoint, type Revision } from "../names.ts";
import { decodeEntry, decodeListing, expiryOf } from "../record-codec.ts";
import { ContentCheck } from "./content-check.ts";
import type { HeldExtent } from "./extent-plan.ts";
import {
  hasGivenUp,
  openInPlace,
  openEnvironment,
  requireRoom,
  transact,
} from "./lmdb-environment.ts";
import { isDamage, storageError } from "./lmdb-errors.ts";
import { OriginTime, type HeardTime } from "./origin-time.ts";
import type {
  DamageListener,
  Replica,
  SnapshotPosition,
  StoreAction,
  StoreOptions,
} from "./replica.ts";
import { ReadView } from "./read-view.ts";
import { SavedSeconds } from "./saved-seconds.ts";
import { SharedTransactions, type ChangePlan } from "./shared-transactions.ts";
import { changeOf, revisionOf, SlotEntries, storedKey, type FetchedValue } from "./slot-entries.ts";
import { SlotSweep } from "./slot-sweep.ts";
import { SlotValues, type AbsentPage } from "./slot-values.ts";
import { planOf, StoreChanges } from "./store-changes.ts";
import { NO_COPY, sizeOfCopy, slotsOf, StoredCopy, type Held } from "./stored-copy.ts";

export interface LmdbReplicaOptions {
  /** Holds the replica's files, and nothing else. Created when missing. For one process. */
  readonly directory: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Told once when LMDB has given up the files: nothing is read or stored any more in this process. */
  readonly onGivenUp?: ((error: KvError) => void) | undefined;
}

const REWRITE: ChangePlan = { operationCount: LIMITS.replicaStripRowsMax, isAwaited: true };

/**
 * A namespace as reads see it: what was committed. A drop forgets the whole object, so what was handed over
 * before and is still under way changes one that nobody looks at any more.
 */
interface Copy {
  readonly namespace: NamespaceId;
  stored: StoredCopy;
}

/**
 * All of a node's replicas in one LMDB environment. A namespace's entries are in a slot, which is replaced
 * as a whole by a snapshot: the new one is filled while reads go on with the old one, and one transaction
 * switches. Slots that nothing refers to any more are emptied in the background. A snapshot that is cut
 * short stays, to go on later. Nothing becomes visible that is not the state whose digest came with it.
 */
export class LmdbReplica implements Replica {
  readonly #log: Log;
  #onGivenUp: LmdbReplicaOptions["onGivenUp"];
  readonly #root: RootDatabase<Buffer, Buffer>;
  readonly #view: ReadView;
  readonly #entries: SlotEntries;
  readonly #values: SlotValues;
  readonly #namespaces: Database<unknown, string>;
  readonly #copies = new Map<NamespaceId, Copy>();
  readonly #check: ContentCheck;
  readonly #changes: StoreChanges;
  readonly #shared: SharedTransactions;
  readonly #sweep: SlotSweep;
  readonly #time: OriginTime;
  readonly #savedTime: SavedSeconds;
  readonly #damageListeners = new Set<DamageListener>();
  readonly #stops: ReadonlyArray<() => void>;
  #lastSlot = 0;
  #isClosed = false;

  /** Fails with `storage_failed` when the files can't be used. */
  static async open(options: LmdbReplicaOptions): Promise<LmdbReplica> {
    try {
      await mkdir(options.directory, { recursive: true });
      await requireRoom(options.directory);
      return new LmdbReplica(options);
    } catch (cause) {
      throw storageError(`the replica in ${options.directory} can't be opened`, cause);
    }
  }

  private constructor(options: LmdbReplicaOptions) {
    const { clock } = options;
    this.#log = options.log;
    this.#onGivenUp = options.onGivenUp;
    this.#root = openEnvironment(options.directory);
    this.#view = new ReadView(this.#root);
    this.#entries = new SlotEntries(openInPlace(this.#root, "entries"));
    this.#values = new SlotValues(this.#entries);
    this.#namespaces = this.#root.openDB({ name: "namespaces", encoding: "json" });
    for (const { key, value } of this.#namespaces.getRange()) {
      // What an earlier version stored in another form is as good as nothing: a snapshot replaces it.
      const stored = StoredCopy.safeParse(value).data;
      if (stored === undefined) continue;
      const measured = this.#values.measured(stored);
      const namespace = NamespaceId.parse(key);
      this.#copies.set(namespace, { namespace, stored: measured });
      if (measured !== stored) void this.#namespaces.put(key, measured);
    }
    this.#savedTime = new SavedSeconds(join(options.directory, "origin-time"));
    const saved = this.#savedTime.read();
    this.#time = new OriginTime({ clock, saved, save: (seconds) => this.#saveTime(seconds) });
    this.#check = new ContentCheck({
      ...options,
      entries: this.#entries,
      held: () => this.#copies.keys(),
      stored: (namespace) => this.#storedCopy(namespace).held,
      transaction: (action) => this.#transaction(action),
      onDamage: (namespace, what) => this.#tellDamage(namespace, what),
    });
    this.#changes = new StoreChanges({
      entries: this.#entries,
      check: this.#check,
      nextSlot: () => (this.#lastSlot += 1),
    });
    this.#shared = new SharedTransactions({
      transaction: (action) => this.#transaction(action),
      onUndone: () => this.#check.restart(),
      clock,
    });
    this.#sweep = new SlotSweep({
      entries: this.#entries,
      transaction: (action) => this.#transaction(action),
      onBegin: (slot) => this.#values.forget(slot),
      log: options.log,
    });
    const slots = [...this.#copies.values()].flatMap(({ stored }) => slotsOf(stored));
    this.#lastSlot = this.#sweep.beginUnused(new Set(slots));
    this.#stops = [
      // A reader that died with an open transaction would let the file grow without end.
      clock.every(LIMITS.readerCheckMs, () => void this.#root.readerCheck()),
      clock.every(LIMITS.contentCheckTickMs, () => void this.#check.readOn()),
      // A restart goes on from here while the origin is away.
      clock.every(LIMITS.originTimeSaveMs, () => this.#time.keep()),
    ];
  }

  held(): ReadonlyArray<NamespaceId> {
    const copies = [...this.#copies].filter(([, { stored }]) => slotsOf(stored).length > 0);
    return copies.map(([namespace]) => namespace);
  }

  revision(namespace: NamespaceId): Revision | undefined {
    return this.#copies.get(namespace)?.stored.held?.revision;
  }

  point(namespace: NamespaceId): HistoryPoint | undefined {
    const held = this.#copies.get(namespace)?.stored.held;
    return held && { revision: held.revision, digest: held.digest };
  }

  extent(namespace: NamespaceId): HeldExtent {
    const stored = this.#copies.get(namespace)?.stored ?? NO_COPY;
    return { namespace, isPartial: stored.isPartial, ...sizeOfCopy(stored) };
  }

  extents(): ReadonlyArray<HeldExtent> {
    return [...this.#copies.keys()].map((namespace) => this.extent(namespace));
  }

  /**
   * Says whether values that come from now on are kept. Those that are there are removed by `strip`, those
   * that are not are brought by `fill`. Does nothing for a namespace of which nothing is held.
   */
  async setPartial(namespace: NamespaceId, isPartial: boolean): Promise<void> {
    await this.#rewrite(namespace, (stored) => ({ ...stored, isPartial }));
  }

  /** Removes the values of some entries of a partial namespace. Resolves with whether there may be more. */
  async strip(namespace: NamespaceId): Promise<boolean> {
    let isMore = false;
    await this.#rewrite(namespace, (stored) => {
      const stripped = this.#values.strip(stored);
      isMore = stripped !== stored;
      return stripped;
    });
    return isMore;
  }

  /** Looks behind a key, or from the first one, for entries whose values are absent, as far as in a moment. */
  absentValues(namespace: NamespaceId, after: Key | undefined): AbsentPage {
    return this.#values.absent(this.#readable(namespace).slot, after);
  }

  /** Puts values back that were absent, as far as their entries are still the same. */
  async fill(namespace: NamespaceId, values: ReadonlyArray<FetchedValue>): Promise<void> {
    await this.#rewrite(namespace, (stored) => this.#values.fill(stored, values));
  }

  snapshot(namespace: NamespaceId): SnapshotPosition | undefined {
    const snapshot = this.#copies.get(namespace)?.stored.snapshot;
    if (snapshot === undefined) return undefined;
    const { revision, digest, after } = snapshot;
    return { revision, digest, after };
  }

  heard(time: HeardTime): void {
    if (!this.#isClosed) this.#time.heard(time);
  }

  originNowMs(): number | undefined {
    return this.#time.heardMs();
  }

  get(namespace: NamespaceId, key: string): HeldEntry | undefined {
    const { slot } = this.#readable(namespace);
    const keyBytes = Buffer.from(key, "utf8");
    try {
      const record = this.#entries.get(slot, keyBytes, this.#view);
      if (record === undefined) return undefined;
      const change = changeOf(record);
      // What something is stored under is a key: to parse it again would cost as much as all the rest.
      if (this.#isExpired(change)) return undefined;
      const revision = revisionOf(record);
      const entry = decodeEntry(key as Key, change);
      return revision === 0 ? entry : { ...entry, revision };
    } catch (error) {
      throw this.#told(namespace, error);
    }
  }

  list(namespace: NamespaceId, options: ListOptions): KvPage {
    const { slot } = this.#readable(namespace);
    const range = listRange(options);
    try {
      return this.#page(slot, range, options.limit);
    } catch (error) {
      throw this.#told(namespace, error);
    }
  }

  #page(slot: number, range: KeyRange, limit: number): KvPage {
    const entries: KvListing[] = [];
    let cursor: string | undefined;
    let scanned = 0;
    for (const { key, record } of this.#entries.scan(slot, range, this.#view)) {
      // There is at least this row behind the page: whether it is live is the next page's business.
      if (cursor !== undefined) return { entries, cursor };
      scanned += 1;
      const change = changeOf(record);
      if (!this.#isExpired(change)) entries.push(decodeListing(storedKey(key), change));
      const isFull = entries.length >= limit || scanned >= LIMITS.listScanRowsMax;
      if (isFull) cursor = encodeCursor(key);
    }
    return { entries };
  }

  onDamage(listener: DamageListener): () => void {
    this.#damageListeners.add(listener);
    return () => this.#damageListeners.delete(listener);
  }

  async store(namespace: NamespaceId, action: StoreAction, options?: StoreOptions): Promise<void> {
    if (this.#isClosed) throw new KvError("closed", "the replica is closed");
    try {
      await this.#storeAction(namespace, action, planOf(action, options));
    } catch (error) {
      throw this.#failed("a change can't be stored", error);
    }
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const stop of this.#stops) stop();
    await this.#shared.idle();
    await this.#sweep.close();
    this.#view.renew();
    // Also waits for the transactions under way.
    await this.#root.close();
    this.#savedTime.close();
  }

  async #storeAction(namespace: NamespaceId, action: StoreAction, plan: ChangePlan): Promise<void> {
    const copy = this.#copyOf(namespace);
    // Reads stop seeing it at once; the order of what is on disk is that of the calls.
    if (action.kind === "drop") this.#copies.delete(namespace);
    let damage: KvError | undefined;
    await this.#commit(copy, plan, (stored) => {
      const applied = this.#changes.apply(stored, action);
      damage = applied.damage;
      return applied.next;
    });
    if (damage !== undefined) throw damage;
  }

  async #commit(
    copy: Copy,
    plan: ChangePlan,
    change: (stored: StoredCopy) => StoredCopy,
  ): Promise<void> {
    const { namespace } = copy;
    const { before, after } = await this.#shared.make(plan, () => {
      // Read inside the transaction: changes are handed over without waiting for those before.
      const stored = this.#storedCopy(namespace);
      const next = change(stored);
      if (slotsOf(next).length === 0) void this.#namespaces.remove(namespace);
      else void this.#namespaces.put(namespace, next);
      return { before: stored, after: next };
    });
    copy.stored = after;
    const kept = slotsOf(after);
    for (const slot of slotsOf(before)) if (!kept.includes(slot)) this.#sweep.begin(slot);
  }

  /** As it is on disk, and within a transaction as that has left it. */
  #storedCopy(namespace: NamespaceId): StoredCopy {
    return StoredCopy.safeParse(this.#namespaces.get(namespace)).data ?? NO_COPY;
  }

  /** Changes how what is held is stored, not what it is. Rejected with `storage_failed`. */
  async #rewrite(
    namespace: NamespaceId,
    change: (stored: StoredCopy) => StoredCopy,
  ): Promise<void> {
    const copy = this.#copies.get(namespace);
    if (this.#isClosed || copy === undefined) return;
    try {
      await this.#commit(copy, REWRITE, (stored) =>
        slotsOf(stored).length === 0 ? stored : change(stored),
      );
    } catch (error) {
      if (isDamage(error)) this.#tellDamage(namespace, error.message);
      throw this.#failed("values can't be moved", error);
    }
  }

  #transaction<Result>(action: () => Result): Promise<Result> {
    return transact(this.#root, action).finally(() => this.#view.renew());
  }

  #copyOf(namespace: NamespaceId): Copy {
    const known = this.#copies.get(namespace);
    if (known !== undefined) return known;
    const copy = { namespace, stored: NO_COPY };
    this.#copies.set(namespace, copy);
    return copy;
  }

  #readable(namespace: NamespaceId): Held {
    if (this.#isClosed) throw new KvError("closed", "the replica is closed");
    const held = this.#copies.get(namespace)?.stored.held;
    if (held !== undefined) return held;
    throw new KvError("replica_behind", `namespace ${namespace} has not arrived at this node yet`);
  }

  /** The error of a read; one that means damage is told of. */
  #told(namespace: NamespaceId, error: unknown): KvError {
    if (isDamage(error)) this.#tellDamage(namespace, error.message);
    return this.#failed("the replica can't be read", error);
  }

  #failed(what: string, cause: unknown): KvError {
    if (cause instanceof KvError) return cause;
    const error = storageError(what, cause);
    if (this.#onGivenUp !== undefined && hasGivenUp(this.#root)) {
      const tell = this.#onGivenUp;
      this.#onGivenUp = undefined;
      tell(error);
    }
    return error;
  }

  #tellDamage(namespace: NamespaceId, what: string): void {
    for (const listener of this.#damageListeners) listener(namespace, what);
  }

  #isExpired(change: Buffer): boolean {
    const expiresAt = expiryOf(change);
    return expiresAt !== 0 && this.#time.isExpired(expiresAt);
  }

  #saveTime(seconds: number): void {
    try {
      this.#savedTime.write(seconds);
    } catch (err) {
      // What has expired stays so in this run; after another one it is hidden once the origin is heard.
      this.#log.warn({ err }, "the time by which entries expire could not be saved");
    }
  }
}
