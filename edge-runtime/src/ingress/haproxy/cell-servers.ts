import { chownSync, chmodSync, linkSync, lstatSync, rmSync } from "node:fs";
import { join, relative } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import type { WorkerKey } from "@atoll/control-plane/contract";
import type { Logger } from "pino";
import { LIMITS } from "../../limits.ts";
import { type RequestCounts, sumOfRequests } from "../ingress.ts";
import { type Split, thresholdOf } from "../split.ts";
import { isVersionTarget, type TargetKey, versionTarget } from "../target-key.ts";
import { MANY, NO_CELL, PATHS, QUOTA, VERSIONS, WEB_SOCKETS } from "./haproxy-paths.ts";
import type { HaproxySupervisor } from "./haproxy-supervisor.ts";
import { countOf, parseStatistics } from "./server-statistics.ts";

/** Where a server is: in a backend of single cells, in `MANY`, or in `VERSIONS`. */
type Placement = "one" | "many" | "versions";

/**
 * A cell's socket as a server of HAProxy's. One publication of a socket is one server, used once: also a
 * cell that gets company moves from a backend of single cells to another server, in `MANY`.
 */
interface CellServer {
  /** `<cell>_<number>`: those of one cell have its number in common. */
  readonly id: string;
  readonly placement: Placement;
  readonly backend: string;
  readonly name: string;
  readonly socketPath: string;
  readonly linkPath: string;
  /** Targets whose requests go here. */
  readonly targets: Set<TargetKey>;
  /** Resolves when no request is in flight to it and none can come. */
  idle: Promise<void> | undefined;
  /** What was in flight to it was ended, and is not taken up again. */
  isCut: boolean;
}

export interface CellServersOptions {
  readonly supervisor: Pick<HaproxySupervisor, "state" | "apply" | "settled" | "ask">;
  /** HAProxy's. */
  readonly directory: string;
  /** Who else than the owner of a cell's socket must be able to connect to it. */
  readonly groupId: number | undefined;
  /** How many backends there are to spread cells over. */
  readonly backends: number;
  readonly log: Logger;
}

/**
 * The cells that HAProxy sends requests to. It reaches each by a hard link in a directory of its own: the
 * cell's own directory stays closed to it, and it can have a root of its own.
 */
export class CellServers {
  readonly #supervisor: CellServersOptions["supervisor"];
  readonly #directory: string;
  readonly #groupId: number | undefined;
  readonly #backends: number;
  readonly #log: Logger;
  /** Where requests of each target go, never empty. */
  readonly #published = new Map<TargetKey, ReadonlyArray<CellServer>>();
  #splits: ReadonlyMap<WorkerKey, Split> = new Map();
  #refused: ReadonlySet<WorkerKey> = new Set();
  /** Those with targets, by placement and socket. */
  readonly #placed = new Map<string, CellServer>();
  /** Those without, until their last request is answered. */
  readonly #leaving = new Set<CellServer>();
  /** The number of each cell, by its socket, while it has any server. */
  readonly #numbers = new Map<string, number>();
  /** WebSockets to each cell that do not pass through HAProxy alone, by its socket. */
  readonly #otherWebSockets = new Map<string, number>();
  /** Requests of servers that are gone, by socket, while it has others. */
  readonly #begunBefore = new Map<string, number>();
  /**
   * Every server by its name, until a while after its last request: one that was lost there is on its way
   * to the built-in ingress when HAProxy counts it no more, and a line about it may still be to come.
   */
  readonly #named = new Map<string, CellServer>();
  #added = 0;

  constructor(options: CellServersOptions) {
    this.#supervisor = options.supervisor;
    this.#directory = options.directory;
    this.#groupId = options.groupId;
    this.#backends = options.backends;
    this.#log = options.log;
  }

  /** Says which workers two versions serve: their requests go to the targets of these. */
  setSplits(splits: ReadonlyArray<Split>): void {
    if (splits.length + this.#splits.size === 0) return;
    this.#splits = new Map(splits.map((split) => [split.worker, split]));
    this.#apply();
  }

  /** Names the workers whose requests are refused, whatever cells they have. */
  refuse(workers: ReadonlySet<WorkerKey>): void {
    if (workers.size + this.#refused.size === 0) return;
    this.#refused = workers;
    this.#apply();
  }

  publish(target: TargetKey, socketPaths: ReadonlyArray<string>): void {
    const before = this.#published.get(target) ?? [];
    const placement = isVersionTarget(target)
      ? "versions"
      : socketPaths.length > 1
        ? "many"
        : "one";
    const servers = socketPaths.map((socketPath) => this.#place(socketPath, placement));
    const isSame =
      before.length === servers.length && servers.every((each) => before.includes(each));
    if (isSame) return;
    if (servers.length === 0) this.#published.delete(target);
    else this.#published.set(target, servers);
    for (const server of servers) server.targets.add(target);
    const left = before.filter((server) => !servers.includes(server));
    for (const server of left) server.targets.delete(target);
    this.#apply();
    for (const server of left) if (server.targets.size === 0) this.#leave(server);
  }

  /** Resolves when no request is in flight to a socket that is not published, or after `drainMs`. */
  async drain(socketPath: string, drainMs: number): Promise<void> {
    const leaving = [...this.#leaving].filter((server) => server.socketPath === socketPath);
    await Promise.all(leaving.map((server) => this.#drain(server, drainMs)));
  }

  async #drain(server: CellServer, drainMs: number): Promise<void> {
    const end = new AbortController();
    const isLate = await Promise.race([
      server.idle?.then(() => false),
      wait(drainMs, true, { signal: end.signal, ref: false }).catch(() => false),
    ]);
    end.abort();
    if (isLate !== true) return;
    server.isCut = true;
    for (const name of namesOf(server.name)) {
      await this.#supervisor.ask(`shutdown sessions server ${server.backend}/${name}`);
    }
  }

  /** What HAProxy itself sent to a socket. One command answers it. */
  async requestsOf(socketPath: string): Promise<RequestCounts> {
    const servers = this.#all().filter((server) => server.socketPath === socketPath);
    const counts = await Promise.all(servers.map((server) => this.#count(server)));
    const before = { begun: this.#begunBefore.get(socketPath) ?? 0, inFlight: 0 };
    return sumOfRequests([before, ...counts]);
  }

  /**
   * Tells HAProxy of WebSockets to a cell that do not pass through it alone, so that it leaves room for
   * them. Resolves with how many it has by itself.
   */
  async webSocketsOf(socketPath: string, others: number): Promise<number> {
    if (others === 0) this.#otherWebSockets.delete(socketPath);
    else this.#otherWebSockets.set(socketPath, others);
    const { state } = this.#supervisor;
    const maps = { ...state.maps, otherSockets: this.#otherSockets() };
    this.#supervisor.apply({ ...state, maps });
    const cell = this.#numbers.get(socketPath);
    if (cell === undefined) return 0;
    await this.#supervisor.settled();
    const answer = await this.#supervisor.ask(`show table ${WEB_SOCKETS} key ${cell}`);
    return Number(/ conn_cur=(\d+)/.exec(answer ?? "")?.[1] ?? 0);
  }

  /** The socket behind a server's name, for a request that was lost there; none when it was cut off. */
  lostSocketPathOf(name: string): string | undefined {
    const server = this.#named.get(name);
    return server?.isCut === true ? undefined : server?.socketPath;
  }

  /** The same for whoever hears of a request after its end, whatever that was. */
  socketPathOf(name: string): string | undefined {
    return this.#named.get(name)?.socketPath;
  }

  #all(): ReadonlyArray<CellServer> {
    return [...this.#placed.values(), ...this.#leaving];
  }

  #place(socketPath: string, placement: Placement): CellServer {
    const key = placementKey(socketPath, placement);
    const known = this.#placed.get(key);
    if (known !== undefined) return known;
    this.#added += 1;
    const number = this.#added;
    const cell = this.#numbers.get(socketPath) ?? number;
    this.#numbers.set(socketPath, cell);
    const id = `${cell}_${number}`;
    const backend = { one: `c${number % this.#backends}`, many: MANY, versions: VERSIONS }[
      placement
    ];
    const linkPath = join(this.#directory, PATHS.cells, `${number}.sock`);
    this.#link(socketPath, linkPath);
    const server = {
      id,
      placement,
      backend,
      name: `${backend}.${id}`,
      socketPath,
      linkPath,
      targets: new Set<TargetKey>(),
      idle: undefined,
      isCut: false,
    };
    this.#placed.set(key, server);
    this.#named.set(server.name, server);
    return server;
  }

  #link(socketPath: string, linkPath: string): void {
    try {
      linkSync(socketPath, linkPath);
      const link = lstatSync(linkPath);
      // The cell's directory is the cell's: it may hold a link to something of ours in the socket's place.
      if (!link.isSocket()) throw new Error("what the cell has put there is no socket");
      if (this.#groupId === undefined) return;
      chownSync(linkPath, link.uid, this.#groupId);
      chmodSync(linkPath, 0o660);
    } catch (error) {
      // HAProxy finds nobody there and asks the activator. For a cell that is gone this is as it should be.
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
      rmSync(linkPath, { force: true });
      this.#log.error({ err: error, socketPath }, "HAProxy cannot reach a cell directly");
    }
  }

  #leave(server: CellServer): void {
    const { socketPath, placement } = server;
    this.#placed.delete(placementKey(socketPath, placement));
    this.#leaving.add(server);
    server.idle = this.#waitUntilIdle(server).then((begun) => {
      this.#leaving.delete(server);
      rmSync(server.linkPath, { force: true });
      const before = this.#begunBefore.get(socketPath) ?? 0;
      const hasOthers = this.#all().some((other) => other.socketPath === socketPath);
      if (hasOthers) this.#begunBefore.set(socketPath, before + begun);
      else {
        this.#begunBefore.delete(socketPath);
        this.#numbers.delete(socketPath);
      }
      this.#apply();
      setTimeout(() => this.#named.delete(server.name), LIMITS.lossMemoryMs).unref();
    });
  }

  /** Resolves with how many requests it ever had. */
  async #waitUntilIdle(server: CellServer): Promise<number> {
    // Until then requests may still be sent there.
    await this.#supervisor.settled();
    for (let pauseMs = 5; ; pauseMs = Math.min(POLL_MS_MAX, 2 * pauseMs)) {
      const { begun, inFlight } = await this.#count(server);
      if (inFlight === 0) return begun;
      await wait(pauseMs, undefined, { ref: false });
    }
  }

  async #count({ backend, name }: CellServer): Promise<RequestCounts> {
    const answer = await this.#supervisor.ask(`show stat ${backend} 4 -1`);
    const names = namesOf(name);
    const rows = parseStatistics(answer ?? "").filter(({ svname }) => names.includes(svname ?? ""));
    return sumOfRequests(
      rows.map((row) => ({ begun: countOf(row, "stot"), inFlight: countOf(row, "scur") })),
    );
  }

  #otherSockets(): ReadonlyMap<string, string> {
    const known = [...this.#otherWebSockets].flatMap(([socketPath, count]) => {
      const cell = this.#numbers.get(socketPath);
      return cell === undefined ? [] : [[String(cell), String(count)] as const];
    });
    return new Map(known);
  }

  /** What the map says of each worker that has a cell. */
  #cells(): ReadonlyMap<WorkerKey, string> {
    const cells = new Map<WorkerKey, string>();
    for (const [target, servers] of this.#published) {
      if (!isVersionTarget(target)) cells.set(target, entryOf(servers));
    }
    for (const split of this.#splits.values()) {
      const lists = split.versions.map(({ id }) => {
        const servers = this.#published.get(versionTarget(split.worker, id)) ?? [];
        return servers.length === 0 ? NO_CELL : listOf(servers);
      });
      cells.set(split.worker, `${VERSIONS}.${[thresholdOf(split), ...lists].join(":")}`);
    }
    for (const worker of this.#refused) cells.set(worker, QUOTA);
    return cells;
  }

  #apply(): void {
    const { maps } = this.#supervisor.state;
    this.#supervisor.apply({
      maps: {
        ...maps,
        cells: this.#cells(),
        otherSockets: this.#otherSockets(),
      },
      servers: new Map(
        this.#all().flatMap(({ backend, name, linkPath }) => {
          const address = `unix@${relative(this.#directory, linkPath)} weight 0`;
          return Object.entries(KINDS).map(
            ([kind, settings]) =>
              [`${backend}/${name}${kind}`, `${address} ${settings(CONNECTIONS)}`] as const,
          );
        }),
      ),
    });
  }
}

/**
 * Each cell is two servers. Requests that must not be repeated go over connections that were never used
 * before: one that was may be closed by the cell just then, and nobody could tell whether the request was
 * read. So do WebSockets.
 */
const KINDS = {
  "": (connections: number) => `pool-max-conn ${connections} pool-purge-delay 1s`,
  "-once": () => "pool-max-conn 0",
} as const;
// Idle connections of one cell: one for each request that it had in flight lately, up to this.
const CONNECTIONS = 1_000;
// A request may go on for as long as it likes; how soon after its end its cell may stop is of no weight.
const POLL_MS_MAX = 500;

function namesOf(name: string): ReadonlyArray<string> {
  return Object.keys(KINDS).map((kind) => name + kind);
}

function placementKey(socketPath: string, placement: Placement): string {
  return `${placement} ${socketPath}`;
}

/** What the map says of a worker: the name of its server, or in `MANY` what tells them apart. */
function entryOf(servers: ReadonlyArray<CellServer>): string {
  const [first] = servers;
  if (first !== undefined && first.backend !== MANY) return first.name;
  return `${MANY}.${listOf(servers)}`;
}

function listOf(servers: ReadonlyArray<CellServer>): string {
  return servers.map(({ id }) => id).join("-");
}
