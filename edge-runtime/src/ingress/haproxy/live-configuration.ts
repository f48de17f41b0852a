import { EdgeError } from "../../errors.ts";
import { LIMITS } from "../../limits.ts";
import { MAPS, type MapName } from "./haproxy-paths.ts";
import type { RuntimeSocket } from "./runtime-socket.ts";

type Maps = Readonly<Record<MapName, ReadonlyMap<string, string>>>;

/** What HAProxy is to know beyond its configuration file. Replaced, never changed. */
export interface LiveState {
  readonly maps: Maps;
  /** `<backend>/<server>` -> the arguments that it is added with. */
  readonly servers: ReadonlyMap<string, string>;
}

export const EMPTY_STATE: LiveState = {
  maps: {
    hosts: new Map(),
    parents: new Map(),
    paths: new Map(),
    prefixes: new Map(),
    cells: new Map(),
    otherSockets: new Map(),
  },
  servers: new Map(),
};

/**
 * Keeps one HAProxy process at what it should know, over its runtime socket: the difference between the
 * last state that it was told and the newest one, in an order in which every state between is sound. A
 * server is there before an entry leads to it, and goes when none does.
 */
export class LiveConfiguration {
  readonly #runtime: RuntimeSocket;
  #applied = EMPTY_STATE;
  #wanted = EMPTY_STATE;
  #applying: Promise<void> | undefined;

  constructor(runtime: RuntimeSocket) {
    this.#runtime = runtime;
  }

  /**
   * Begins to apply a state in place of the one before. The first commands are on their way when this
   * returns. Rejected with `ingress_unavailable`; then nothing can be said of what HAProxy knows.
   */
  apply(state: LiveState): Promise<void> {
    this.#wanted = state;
    this.#applying ??= this.#applyWanted().finally(() => {
      this.#applying = undefined;
    });
    return this.#applying;
  }

  async #applyWanted(): Promise<void> {
    while (this.#applied !== this.#wanted) {
      const state = this.#wanted;
      const before = this.#applied;
      const isUnchanged = (name: MapName): boolean => before.maps[name] === state.maps[name];
      const changed = (Object.keys(MAPS) as MapName[]).filter((name) => !isUnchanged(name));
      await Promise.all([
        ...this.#addServers(before.servers, state.servers),
        ...changed.map((name) => this.#applyMap(name, before.maps[name], state.maps[name])),
      ]);
      const kept = await this.#removeServers(before.servers, state.servers);
      this.#applied = { maps: state.maps, servers: new Map([...state.servers, ...kept]) };
      if (this.#wanted === state) this.#wanted = this.#applied;
    }
  }

  #addServers(before: LiveState["servers"], after: LiveState["servers"]): Array<Promise<void>> {
    return [...after]
      .filter(([name]) => !before.has(name))
      .flatMap(([name, settings]) => [
        this.#expect(`add server ${name} ${settings}`, "New server registered."),
        this.#expect(`enable server ${name}`, ""),
      ]);
  }

  /** Returns the servers that can't be removed yet: a connection that nobody uses is left of each. */
  async #removeServers(
    before: LiveState["servers"],
    after: LiveState["servers"],
  ): Promise<ReadonlyArray<readonly [string, string]>> {
    const removed = await Promise.all(
      [...before]
        .filter(([name]) => !after.has(name))
        .map(async (entry) => {
          await this.#expect(`set server ${entry[0]} state maint`, "");
          const answer = await this.#runtime.ask(`del server ${entry[0]}`);
          return answer.includes("Server deleted") ? [] : [entry];
        }),
    );
    return removed.flat();
  }

  /** A few entries are changed one by one; many are laid beside the old ones, and take their place at once. */
  #applyMap(
    name: MapName,
    before: ReadonlyMap<string, string>,
    after: ReadonlyMap<string, string>,
  ): Promise<unknown> {
    const path = MAPS[name];
    if (name !== "cells" && name !== "otherSockets") return this.#replaceMap(path, after);
    const commands = [
      ...[...after]
        .filter(([key, value]) => before.get(key) !== value)
        .map(([key, value]) => `${before.has(key) ? "set" : "add"} map ${path} ${key} ${value}`),
      ...[...before.keys()].filter((key) => !after.has(key)).map((key) => `del map ${path} ${key}`),
    ];
    return Promise.all(commands.map((command) => this.#expect(command, "")));
  }

  async #replaceMap(path: string, entries: ReadonlyMap<string, string>): Promise<void> {
    const answer = await this.#runtime.ask(`prepare map ${path}`);
    const version = /New version created: (\d+)/.exec(answer)?.[1];
    if (version === undefined) throw refused(`prepare map ${path}`, answer);
    const added = payloads(entries).map((payload) =>
      this.#expect(`add map @${version} ${path} <<\n${payload}`, ""),
    );
    await Promise.all([...added, this.#expect(`commit map @${version} ${path}`, "")]);
  }

  async #expect(command: string, expected: string): Promise<void> {
    const answer = (await this.#runtime.ask(command)).trim();
    if (answer !== expected) throw refused(command, answer);
  }
}

/** Entries as HAProxy reads them, a key and a value a line, in pieces that fit its buffer. */
function payloads(entries: ReadonlyMap<string, string>): ReadonlyArray<string> {
  const pieces: string[] = [];
  let piece = "";
  for (const [key, value] of entries) {
    const line = `${key} ${value}\n`;
    if (piece !== "" && piece.length + line.length > LIMITS.runtimePayloadLengthMax) {
      pieces.push(piece);
      piece = "";
    }
    piece += line;
  }
  return piece === "" ? pieces : [...pieces, piece];
}

function refused(command: string, answer: string): EdgeError {
  return new EdgeError(
    "ingress_unavailable",
    `HAProxy answered '${answer.slice(0, 200)}' to '${command.slice(0, 100)}'`,
  );
}
