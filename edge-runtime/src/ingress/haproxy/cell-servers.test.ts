import { once } from "node:events";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { worker } from "../conformance/ingress-harness.ts";
import { CellServers, type CellServersOptions } from "./cell-servers.ts";
import { PATHS } from "./haproxy-paths.ts";
import { EMPTY_STATE } from "./live-configuration.ts";

let folder: string;
let socketPath: string;
let listener: Server;
/** What HAProxy calls the cell's server, and has in flight to it. */
let name: string;
let inFlight: number;
let state = EMPTY_STATE;
let cells: CellServers;

// HAProxy, as far as it tells what it has in flight.
const haproxy: CellServersOptions["supervisor"] = {
  get state() {
    return state;
  },
  apply: (next) => {
    state = next;
  },
  settled: async () => undefined,
  ask: async () => `# svname,scur,stot\n${name},${inFlight},1\n`,
};

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "cell-servers-"));
  await mkdir(join(folder, PATHS.cells));
  socketPath = join(folder, "cell.sock");
  listener = createServer().listen(socketPath);
  await once(listener, "listening");
  inFlight = 0;
  state = EMPTY_STATE;
  cells = new CellServers({
    supervisor: haproxy,
    directory: folder,
    groupId: undefined,
    backends: 1,
    log: pino({ level: "silent" }),
  });
  cells.publish(worker("test"), [socketPath]);
  name = state.maps.cells.get(worker("test")) ?? "";
});
afterEach(async () => {
  listener.close();
  await once(listener, "close");
  await rm(folder, { recursive: true });
});

test("cell servers: a request that was lost is known after HAProxy has counted its last one", async () => {
  cells.publish(worker("test"), []);
  await cells.drain(socketPath, 1_000);
  expect(state.servers.size).toBe(0);
  // On its way from there to the built-in ingress it is in neither's count.
  expect(cells.lostSocketPathOf(name)).toBe(socketPath);
  expect(cells.socketPathOf(name)).toBe(socketPath);
});

test("cell servers: a request that was cut off is not taken up again, and told of all the same", async () => {
  inFlight = 1;
  cells.publish(worker("test"), []);
  await cells.drain(socketPath, 1);
  expect(cells.lostSocketPathOf(name)).toBeUndefined();
  expect(cells.socketPathOf(name)).toBe(socketPath);
});
