import { join } from "node:path";

/** The maps that the runtime socket changes; empty files, because HAProxy wants to read something. */
export const MAPS = {
  /** Host -> worker, or `?<host>` when the path decides. */
  hosts: "hosts.map",
  /** The same for `<parent>` of hosts that have no entry, and `*` for all others. */
  parents: "parents.map",
  /** `?<host><path>` -> worker, for whole paths. */
  paths: "paths.map",
  /** `?<host><path>` -> worker, for beginnings of paths. */
  prefixes: "prefixes.map",
  /** Worker -> server of its cell. */
  cells: "cells.map",
} as const;

export type MapName = keyof typeof MAPS;

/** Where everything of one HAProxy is. */
export interface HaproxyPaths {
  readonly directory: string;
  readonly config: string;
  readonly map: (name: MapName) => string;
  /** Runtime socket of the worker process. */
  readonly admin: string;
  /** Runtime socket of the master process. */
  readonly master: string;
  /** Where the built-in ingress takes what HAProxy has no cell for. */
  readonly fallback: string;
  /** Where HAProxy gives back to itself what it lost a cell with. */
  readonly lost: string;
  /** Links to the sockets of cells. */
  readonly cells: string;
  readonly page: (name: string) => string;
  /** A path below `directory` as the worker process sees it. */
  readonly seenByWorker: (path: string) => string;
}

export function haproxyPaths(directory: string, isConfined: boolean): HaproxyPaths {
  return {
    directory,
    config: join(directory, "haproxy.cfg"),
    map: (name) => join(directory, MAPS[name]),
    admin: join(directory, "admin.sock"),
    master: join(directory, "master.sock"),
    fallback: join(directory, "fallback.sock"),
    lost: join(directory, "lost.sock"),
    cells: join(directory, "cells"),
    page: (name) => join(directory, name),
    seenByWorker: (path) => (isConfined ? path.slice(directory.length) : path),
  };
}
