/** The maps that the runtime socket changes, by the names of their files. */
export const MAPS = {
  /** Host -> worker, or `?=<host>` when the path decides. */
  hosts: "hosts.map",
  /** The same for hosts below `<parent>` that have no entry nearer to them; `*` is above all. */
  parents: "parents.map",
  /** `?=<host><path>` or `?*<parent><path>` -> worker, for whole paths. */
  paths: "paths.map",
  /** The same for beginnings of paths. */
  prefixes: "prefixes.map",
  /**
   * Worker -> `<backend>.<cell>_<number>`, the server of its cell, both numbers;
   * `MANY.<cell>_<number>-<cell>_<number>…` when it has more;
   * `VERSIONS.<threshold>:<newer>:<older>`, each a list as in `MANY`, when two versions serve it;
   * `QUOTA` when its requests are refused.
   */
  cells: "cells.map",
  /** Number of a cell -> its WebSockets that do not pass through HAProxy alone. */
  otherSockets: "other-sockets.map",
} as const;

export type MapName = keyof typeof MAPS;

/**
 * What is in the directory of one HAProxy. It is started there and knows all of it by relative paths:
 * they need no quoting, are never too long for a socket, and mean the same after a change of root.
 */
export const PATHS = {
  config: "haproxy.cfg",
  /** Runtime socket of the process that serves. */
  admin: "admin.sock",
  /** Runtime socket of the master process. */
  master: "master.sock",
  /** Where the built-in ingress takes what HAProxy has no cell for. */
  fallback: "fallback.sock",
  /** Where HAProxy tells of the requests that it served. */
  usage: "usage.sock",
  /** Where HAProxy gives back to itself what it lost a cell with. */
  lost: "lost.sock",
  /** The script that remembers what was lost. */
  lostRequests: "lost-requests.lua",
  /** Folder of links to the sockets of cells. */
  cells: "cells",
} as const;

/** The table of how many WebSockets each cell has over HAProxy alone, by the cell's number. */
export const WEB_SOCKETS = "websockets";

/** The backend of all workers that have more than one cell. */
export const MANY = "many";

/** The backend of all workers that two versions serve. */
export const VERSIONS = "versions";

/** The backend of all workers whose accounts have used up their day; it has no cell. */
export const QUOTA = "quota";

/** In place of a server's name: there is none, so the request is the built-in ingress's. */
export const NO_CELL = "none";
