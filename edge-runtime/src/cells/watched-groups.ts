import type { WorkerKey } from "@atoll/control-plane/contract";
import type { Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import type { Ingress } from "../ingress/ingress.ts";
import { LIMITS } from "../limits.ts";
import type { CellGroup } from "./cell-group.ts";
import type { PreparedWorker } from "./prepared-worker.ts";
import { isOnDemand } from "./version-role.ts";

export interface WatchedGroupsOptions {
  /** The groups that serve now. */
  readonly groups: () => ReadonlySet<CellGroup>;
  /** Makes a group, not started; throws `config_invalid`. */
  readonly newGroup: (workers: ReadonlyArray<PreparedWorker>) => CellGroup;
  /** What a watched worker's tail tells with. */
  readonly tailCapability: (worker: Pick<PreparedWorker, "key" | "version">) => string;
  /** Starts a group's cell beside those that serve; rejected as `CellGroup.warmUp`. */
  readonly start: (group: CellGroup) => Promise<void>;
  /** Other cells of a group are to serve from now on. */
  readonly changed: (group: CellGroup) => void;
  /** Requests of a watched worker that were not told. */
  readonly onSkipped: (worker: WorkerKey, count: number) => void;
  readonly ingress: Pick<Ingress, "requestsOf" | "settled">;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Requests that each worker's own cells had. */
type Begun = ReadonlyMap<WorkerKey, number>;

type WatchState =
  | { readonly kind: "starting" }
  /** Requests go to the double. */
  | { readonly kind: "telling" }
  /** The double did not start: it is tried again at the next look. */
  | { readonly kind: "failed" }
  /** Too much was told: requests go to the group's own cells, since they had had `begun` of them. */
  | { readonly kind: "resting"; readonly begun: Promise<Begun> };

interface Watch {
  readonly group: CellGroup;
  /** Runs the same as `group`, and tells. */
  readonly double: CellGroup;
  readonly watched: ReadonlySet<WorkerKey>;
  state: WatchState;
  /** Resolves when the double has started, or failed to. */
  started: Promise<void>;
  /** Events since the last look. */
  told: number;
  /** It is on its way to rest. */
  isTiring: boolean;
}

/**
 * The groups with workers that somebody watches. Each has a double: a group that runs the same, whose cell tells
 * what happens. It starts beside the group's own cell and takes its requests, which then cost more; the group's
 * own cell stays as it was. When more happens than can be told, requests go to the group's own cells again, at the
 * usual cost, until the next look: so a worker under load is sampled, and hardly slower. When nobody watches any
 * more, the double goes.
 */
export class WatchedGroups {
  readonly #options: WatchedGroupsOptions;
  readonly #watches = new Map<CellGroup, Watch>();
  #workers: ReadonlySet<WorkerKey> = new Set();
  #stopLooking: (() => void) | undefined;
  #isClosed = false;

  constructor(options: WatchedGroupsOptions) {
    this.#options = options;
  }

  /** Watches exactly these workers. Resolves when all that is to tell gets the requests, or failed to start. */
  async watch(workers: ReadonlySet<WorkerKey>): Promise<void> {
    this.#workers = workers;
    await this.follow();
    // Whoever waits for this sends the request that they want to see.
    await this.#options.ingress.settled();
  }

  /** To be called when other groups serve: a watch follows its workers. Resolves when all has started that tells. */
  async follow(): Promise<void> {
    if (this.#isClosed) return;
    const groups = this.#options.groups();
    const wanted = new Map([...groups].map((group) => [group, this.#watchedOf(group)] as const));
    for (const watch of this.#watches.values()) {
      if (!isSame(watch.watched, wanted.get(watch.group))) this.#end(watch);
    }
    for (const [group, watched] of wanted) {
      if (watched.size > 0 && !this.#watches.has(group)) this.#begin(group, watched);
    }
    if (this.#watches.size === 0) {
      this.#stopLooking?.();
      this.#stopLooking = undefined;
    } else this.#stopLooking ??= this.#options.clock.every(LIMITS.tailLookMs, () => this.#look());
    await Promise.all([...this.#watches.values()].map(({ started }) => started));
  }

  /** The group whose cells take the requests of a group's workers. */
  serving(group: CellGroup): CellGroup {
    const watch = this.#watches.get(group);
    if (watch?.state.kind !== "telling") return group;
    // A double that has lost its cell while the group's own has not is no reason to let anybody wait.
    return watch.double.cells.length > 0 || group.cells.length === 0 ? watch.double : group;
  }

  /** The group for which a double stands in; any other one itself. */
  originalOf(group: CellGroup): CellGroup {
    return this.#watchOf(group)?.group ?? group;
  }

  /** Lets a group serve by itself until the next look; returns whether it did not. */
  giveUp(double: CellGroup): boolean {
    const watch = this.#watchOf(double);
    if (watch?.state.kind !== "telling") return false;
    this.#serveAlone(watch);
    return true;
  }

  /** The doubles that there are. */
  get doubles(): ReadonlyArray<CellGroup> {
    return [...this.#watches.values()].map(({ double }) => double);
  }

  isInUse(group: CellGroup): boolean {
    return group.isInUse || this.#watches.get(group)?.double.isInUse === true;
  }

  /** Hears how much was told of a worker. */
  noteTold(worker: WorkerKey, count: number): void {
    for (const watch of this.#watches.values()) {
      if (!watch.watched.has(worker)) continue;
      watch.told += count;
      const isTooMuch = watch.told >= LIMITS.tailEventsPerLook && watch.state.kind === "telling";
      if (isTooMuch && !watch.isTiring) void this.#rest(watch);
    }
  }

  /** Ends every watch. May be called twice. */
  close(): ReadonlyArray<CellGroup> {
    this.#isClosed = true;
    this.#stopLooking?.();
    const doubles = this.doubles;
    for (const watch of this.#watches.values()) this.#end(watch);
    return doubles;
  }

  #watchOf(double: CellGroup): Watch | undefined {
    return [...this.#watches.values()].find((each) => each.double === double);
  }

  #watchedOf(group: CellGroup): ReadonlySet<WorkerKey> {
    // A version that nobody is served is watched when somebody looks at it.
    const isUnused = group.workers.some(isOnDemand) && !this.isInUse(group);
    if (isUnused && !this.#watches.has(group)) return new Set();
    const watched = group.workers.filter(
      // Static files alone run no code that could tell.
      ({ key, version }) => this.#workers.has(key) && version.code.kind !== "none",
    );
    return new Set(watched.map(({ key }) => key));
  }

  /** A worker that tells, whichever version of it is called. */
  #telling({ other, ...worker }: PreparedWorker): PreparedWorker {
    const { tailCapability } = this.#options;
    return {
      ...worker,
      tailCapability: tailCapability(worker),
      ...(other && { other: { ...other, member: this.#telling(other.member) } }),
    };
  }

  #begin(group: CellGroup, watched: ReadonlySet<WorkerKey>): void {
    const double = this.#options.newGroup(
      group.workers.map((worker) => (watched.has(worker.key) ? this.#telling(worker) : worker)),
    );
    const watch: Watch = {
      ...{ group, double, watched, told: 0, isTiring: false },
      state: { kind: "starting" },
      started: Promise.resolve(),
    };
    this.#watches.set(group, watch);
    this.#start(watch);
  }

  #start(watch: Watch): void {
    watch.started = this.#options.start(watch.double).then(
      () => this.#letTell(watch),
      (error: unknown) => {
        if (!this.#isCurrent(watch)) return;
        watch.state = { kind: "failed" };
        const workers = [...watch.watched];
        this.#options.log.error({ workers, err: error }, "a cell that is to tell did not start");
      },
    );
  }

  #letTell(watch: Watch): void {
    if (!this.#isCurrent(watch)) return;
    watch.state = { kind: "telling" };
    this.#options.changed(watch.group);
  }

  #end(watch: Watch): void {
    this.#watches.delete(watch.group);
    // First the requests go elsewhere.
    this.#options.changed(watch.group);
    watch.double.retire("surplus");
  }

  #look(): void {
    void this.follow();
    for (const watch of this.#watches.values()) {
      const { state, double, group } = watch;
      watch.told = 0;
      if (state.kind === "resting") void this.#tellAgain(watch, state);
      else if (state.kind === "failed") this.#start(watch);
      // Its cell was taken away, or ended; one whose worker nobody uses stays away.
      else if (state.kind === "telling" && double.cells.length === 0 && group.cells.length > 0) {
        this.#start(watch);
      }
    }
  }

  /** Lets the group's own cells serve, once there is one. */
  async #rest(watch: Watch): Promise<void> {
    const { group } = watch;
    watch.isTiring = true;
    try {
      if (group.cells.length === 0) await this.#options.start(group);
      if (this.#isCurrent(watch) && watch.state.kind === "telling") this.#serveAlone(watch);
    } catch (error) {
      this.#options.log.error({ err: error }, "a watched worker stays with the cell that tells");
    } finally {
      watch.isTiring = false;
    }
  }

  #serveAlone(watch: Watch): void {
    watch.state = { kind: "resting", begun: Promise.resolve(new Map()) };
    this.#options.changed(watch.group);
    // Sockets have a count only while they are published.
    watch.state = { kind: "resting", begun: this.#begunOf(watch) };
  }

  async #tellAgain(
    watch: Watch,
    state: Extract<WatchState, { readonly kind: "resting" }>,
  ): Promise<void> {
    const before = await state.begun;
    const now = await this.#begunOf(watch);
    if (watch.state !== state) return;
    this.#letTell(watch);
    for (const [worker, begun] of now) {
      this.#options.onSkipped(worker, begun - (before.get(worker) ?? 0));
    }
  }

  async #begunOf({ group, watched }: Watch): Promise<Begun> {
    const counts = [...watched].map(async (worker) => {
      const sockets = group.cells.map((cell) =>
        this.#options.ingress.requestsOf(cell.socketPath(worker)),
      );
      const begun = (await Promise.all(sockets)).reduce((sum, each) => sum + each.begun, 0);
      return [worker, begun] as const;
    });
    return new Map(await Promise.all(counts));
  }

  #isCurrent(watch: Watch): boolean {
    return this.#watches.get(watch.group) === watch;
  }
}

function isSame(
  before: ReadonlySet<WorkerKey>,
  after: ReadonlySet<WorkerKey> | undefined,
): boolean {
  return after?.size === before.size && [...before].every((worker) => after.has(worker));
}
