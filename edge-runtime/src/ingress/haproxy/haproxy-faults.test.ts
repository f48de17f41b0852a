import { mkdir, readdir, readFile, readlink, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectHttp2, type IncomingHttpHeaders } from "node:http2";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { Agent, get } from "node:http";
import { Readable } from "node:stream";
import { VersionId } from "@atoll/control-plane/contract";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { IngressHarness, readUntil, until, worker } from "../conformance/ingress-harness.ts";
import { LIMITS } from "../../limits.ts";
import { KEY_COOKIE, KEY_HEADER } from "../split.ts";
import { versionTarget } from "../target-key.ts";
import { HaproxyIngress } from "./haproxy-ingress.ts";
import { PATHS } from "./haproxy-paths.ts";
import { findHaproxy } from "./haproxy-process.ts";
import { RuntimeSocket } from "./runtime-socket.ts";
import { parseStatistics } from "./server-statistics.ts";

let folder: string;
let harness: IngressHarness;
let ingress: HaproxyIngress;
let warnings: string[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "haproxy-faults-"));
  warnings = [];
  const binary = await findHaproxy();
  if (binary.kind === "missing") throw new Error(`The tests need HAProxy: ${binary.reason}`);
  harness = await IngressHarness.open({
    keepsHeaderCase: false,
    open: async (options) => {
      ingress = await HaproxyIngress.open({
        ...options,
        binary: binary.path,
        directory: join(folder, "haproxy"),
        port: 0,
        log: pino({ level: "warn" }, { write: (line: string) => warnings.push(line) }),
      });
      return ingress;
    },
  });
});
afterEach(async () => {
  await harness.dispose();
  await rm(folder, { recursive: true });
});

/** One question to the process that serves. */
async function ask(command: string): Promise<string> {
  const runtime = await RuntimeSocket.open(join(folder, "haproxy", PATHS.admin));
  try {
    return await runtime.ask(command);
  } finally {
    runtime.close();
  }
}

async function workerPid(): Promise<number> {
  return Number(/^Pid: (\d+)$/m.exec(await ask("show info"))?.[1]);
}

async function serverNames(): Promise<ReadonlyArray<string>> {
  const rows = (await ask("show stat -1 4 -1")).split("\n").map((row) => row.split(",")[1] ?? "");
  return rows.filter((name) => /^c\d+\./.test(name));
}

/** Whether requests reach the cell without the activator. */
async function isServed(): Promise<boolean> {
  const answer = await harness.call().catch(() => undefined);
  return answer?.text === "served";
}

test.each(["worker", "master"] as const)(
  "haproxy: comes back when its %s process is killed, and knows the warm cells",
  async (which) => {
    await harness.serve((_, response) => response.end("served"));
    const before = await workerPid();
    process.kill(which === "worker" ? before : (ingress.pid ?? 0), "SIGKILL");
    await until(isServed, "its return");
    // At first it knows nothing, and everything takes the way of cold requests.
    await until(async () => {
      // The one that was killed may still answer, or break off while it does.
      const map = await ask("show map cells.map").catch(() => "");
      const now = await workerPid().catch(() => before);
      return map.includes(worker("test")) && now !== before;
    }, "the map");
    expect(await isServed()).toBe(true);
    expect((await serverNames()).length).toBe(2);
    expect(await ingress.counters()).toMatchObject({ restarts: 1, inFlight: 0 });
  },
);

test("haproxy: comes back, and once, when nobody can write down which process it is", async () => {
  await harness.serve((_, response) => response.end("served"));
  const [before, record] = [ingress.pid ?? 0, join(folder, "haproxy", "haproxy.pid")];
  await rm(record);
  await mkdir(record);
  process.kill(before, "SIGKILL");
  await until(async () => ingress.pid !== before && (await isServed()), "its return");
  await until(async () => (await mastersIn(join(folder, "haproxy"))).length === 1, "its being one");
  expect(await mastersIn(join(folder, "haproxy"))).toEqual([ingress.pid]);
  expect(warnings.join()).toContain("a later agent can't end it");
});

/** Processes of HAProxy that begin in a directory and that we have started. */
async function mastersIn(directory: string): Promise<ReadonlyArray<number>> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  const own = await Promise.all(
    pids.map(async (pid) => {
      const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
      const isOurs = /^PPid:\t(\d+)/m.exec(status)?.[1] === String(process.pid);
      const place = isOurs ? await readlink(`/proc/${pid}/cwd`).catch(() => "") : "";
      return place === directory ? [pid] : [];
    }),
  );
  return own.flat();
}

test("haproxy: starts without a complaint", async () => {
  // What it says of its start is read before it answers the first request.
  await harness.serve((_, response) => response.end("served"));
  await until(isServed, "the first answer");
  expect(warnings).toEqual([]);
});

test("haproxy: chooses between two versions by itself, and leaves nothing behind", async () => {
  const [newer, older] = ["2", "1"].map((digit) =>
    VersionId.parse(`00000000-0000-4000-8000-00000000000${digit}`),
  ) as [VersionId, VersionId];
  const routes = [{ pattern: "test.localhost/*", worker: worker("test") }];
  const versions = [
    { id: newer, percentage: 50 },
    { id: older, percentage: 50 },
  ] as const;
  const cells = await Promise.all(
    ["newer", "older"].map((name) => harness.startCell((_, response) => response.end(name))),
  );
  const publish = (...paths: ReadonlyArray<ReadonlyArray<string>>): void => {
    for (const [index, id] of [newer, older].entries()) {
      ingress.publish(versionTarget(worker("test"), id), paths[index] ?? []);
    }
  };
  publish(...cells.map(({ socketPath }) => [socketPath]));
  ingress.setRoutes(routes, { splits: [{ worker: worker("test"), versions }] });
  await ingress.settled();
  const texts: string[] = [];
  for (const headers of [{}, { [KEY_HEADER]: "somebody" }, { cookie: `${KEY_COOKIE}=~1` }]) {
    for (const method of ["GET", "POST"]) {
      for (let turn = 0; turn < 10; turn += 1) {
        texts.push((await harness.call({ method, headers })).text);
      }
    }
  }
  expect(new Set(texts)).toEqual(new Set(["newer", "older"]));
  const passedOn = parseStatistics(await ask("show stat activator 2 -1"));
  expect(passedOn.map((row) => row["stot"])).toEqual(["0"]);
  publish();
  ingress.setRoutes(routes);
  for (const { socketPath } of cells) await ingress.drain(socketPath);
  for (const { server } of cells) server.closeIdleConnections();
  await until(async () => {
    // What is removed while a connection is left is tried again with the next change.
    ingress.setRoutes(routes);
    await ingress.settled();
    return !(await ask("show stat versions 4 -1")).includes("versions.");
  }, "the servers to be removed");
  expect(await readdir(join(folder, "haproxy", PATHS.cells))).toEqual([]);
});

test("haproxy: knows more routes than one of its buffers holds", async () => {
  const cell = await harness.startCell((_, response) => response.end("served"));
  const before = await workerPid();
  const path = "p".repeat(100);
  const routes = Array.from({ length: 2_000 }, (_, index) => ({
    pattern: `w${index}.localhost/${path}/*`,
    worker: worker("test"),
  }));
  ingress.setRoutes(routes);
  ingress.publish(worker("test"), [cell.socketPath]);
  await ingress.settled();
  expect((await ask("show map hosts.map")).trim().split("\n")).toHaveLength(routes.length);
  expect(await workerPid()).toBe(before);
});

test("haproxy: takes 200 switches without a new process, and leaves nothing behind", async () => {
  const pids = [ingress.pid, await workerPid()];
  const cells = await Promise.all(
    ["one", "two"].map((name) => harness.startCell((_, response) => response.end(name))),
  );
  const agent = new Agent({ keepAlive: true, maxSockets: 8 });
  for (let turn = 0; turn < 200; turn += 1) {
    const next = cells[turn % 2];
    const before = cells[(turn + 1) % 2];
    harness.routeTo(next?.socketPath ?? "");
    await ingress.settled();
    const request = get({
      port: harness.port,
      agent,
      headers: { host: "test.localhost" },
    });
    const [response] = await once(request, "response");
    expect(response.statusCode).toBe(200);
    response.resume();
    await ingress.drain(before?.socketPath ?? "");
  }
  agent.destroy();
  expect([ingress.pid, await workerPid()]).toEqual(pids);
  // Kept connections to cells that live hold on to their servers for a while.
  for (const cell of cells) cell.server.closeIdleConnections();
  await until(async () => {
    harness.ingress.publish(worker("other"), [cells[0]?.socketPath ?? ""]);
    harness.ingress.publish(worker("other"), []);
    await ingress.settled();
    return (await serverNames()).length === 2;
  }, "the servers to be removed");
  expect(await readdir(join(folder, "haproxy", PATHS.cells))).toHaveLength(1);
  expect((await ingress.counters()).errors).toBe(0);
});

test("haproxy: finishes its requests and refuses none while a new process takes its place", async () => {
  let finish = (): void => undefined;
  await harness.serve((request, response) => {
    if (request.url === "/slow") finish = () => response.end("slow");
    else response.end("served");
  });
  const before = await workerPid();
  const slow = harness.call({ path: "/slow" });
  await until(async () => (await ingress.counters()).requests === 1, "the request");
  const reloading = ingress.reload();
  for (let count = 0; count < 50; count += 1) expect(await isServed()).toBe(true);
  await reloading;
  expect(await workerPid()).not.toBe(before);
  expect(await isServed()).toBe(true);
  finish();
  expect((await slow).text).toBe("slow");
});

test("haproxy: what a killed cell had in flight gets the page of the limit that killed it", async () => {
  const { kill } = await harness.serveWorker(
    `export default { fetch: () => scheduler.wait(60_000) }`,
  );
  harness.lossOf = async () => "cpu_exceeded";
  const inFlight = [harness.call(), harness.call({ method: "POST", body: "not repeated" })];
  await until(async () => (await ingress.counters()).requests === 2, "the requests");
  await new Promise((resolve) => setTimeout(resolve, 100));
  await kill();
  for (const answer of await Promise.all(inFlight)) {
    expect([answer.status, answer.headers["x-atoll-error"]]).toEqual([503, "cpu_exceeded"]);
  }
});

test("haproxy: what a cell puts in its socket's place is not followed", async () => {
  const secret = await harness.startCell((_, response) => response.end("secret"));
  const path = harness.newSocketPath();
  await symlink(secret.socketPath, path);
  harness.routeTo(path);
  harness.activate = () => Promise.reject(new Error("asked"));
  await ingress.settled();
  expect(await readdir(join(folder, "haproxy", PATHS.cells))).toEqual([]);
});

test("haproxy: runs with no rights of root's", async () => {
  const status = await readFile(`/proc/${await workerPid()}/status`, "utf8");
  const [user] = /^Uid:\t(\d+)/m.exec(status)?.slice(1) ?? [];
  expect(Number(user)).not.toBe(0);
  expect(/^CapEff:\t(\w+)$/m.exec(status)?.[1]).toBe("0000000000000000");
});

test("haproxy: HTTP/2 without TLS reaches the worker, which is told", async () => {
  await harness.serve((request, response) => response.end(request.headers["x-atoll-cf"]));
  await ingress.settled();
  const session = connectHttp2(ingress.url);
  const stream = session.request({ ":path": "/", ":authority": "test.localhost" });
  let text = "";
  stream.setEncoding("utf8").on("data", (piece: string) => {
    text += piece;
  });
  await once(stream, "end");
  session.destroy();
  expect(JSON.parse(text)).toMatchObject({ httpProtocol: "HTTP/2", colo: "FRA" });
});

/** Asks over HTTP/2, with a body whose length is not told; resolves with the status and how much a cell had of it. */
async function askHttp2(
  headers: Readonly<Record<string, string>>,
  bodyBytes: number,
): Promise<{ readonly status: number; readonly read: number }> {
  let read = 0;
  await harness.serve((request, response) => {
    request.on("data", (piece: Buffer) => (read += piece.length));
    request.on("end", () => response.end());
    request.on("error", () => undefined);
  });
  await ingress.settled();
  const session = connectHttp2(ingress.url);
  const stream = session.request(
    { ":authority": "test.localhost", ...headers },
    { endStream: bodyBytes === 0 },
  );
  stream.on("error", () => undefined);
  if (bodyBytes > 0) Readable.from(pieces(bodyBytes)).pipe(stream);
  const [head] = (await once(stream, "response")) as [IncomingHttpHeaders];
  session.destroy();
  return { status: Number(head[":status"]), read };
}

function* pieces(bytes: number): Generator<Buffer> {
  const piece = Buffer.alloc(1024 * 1024);
  for (let left = bytes; left > 0; left -= piece.length) yield piece.subarray(0, left);
}

test("haproxy: a body of HTTP/2 is bounded whatever its request's method", async () => {
  const request = { ":method": "GET", ":path": "/" };
  const { requestBodyBytesMax: max } = LIMITS;
  expect(await askHttp2(request, max)).toEqual({ status: 200, read: max });
  expect(await askHttp2(request, max + 1)).toMatchObject({ status: 413 });
});

test("haproxy: HTTP/2 may ask for no more than HTTP/1, such as for no path", async () => {
  const request = { ":method": "OPTIONS", ":path": "*" };
  expect(await askHttp2(request, 0)).toEqual({ status: 400, read: 0 });
});

test("haproxy: what it refuses by a rule gets our page", async () => {
  const answer = await harness.exchange(
    "GET / HTTP/1.1\r\nhost: test.localhost\r\nx-control: \u0001\r\nconnection: close\r\n\r\n",
  );
  expect(answer).toMatch(/^HTTP\/1.1 400 /);
  expect(answer).toMatch(/\r\ncontent-type: text\/plain; charset=utf-8\r\n/i);
  expect(answer).toMatch(/\r\nx-atoll-error: request_invalid\r\n/i);
  expect(answer).toMatch(/\r\n\r\nerror code: 400\n/);
});

// Until it was mended upstream (haproxy/haproxy#3032), its reader of HTTP/1 answered from a text in the program,
// whatever `errorfile` says. What it can't read or hold reaches no rule, so nothing here could answer instead.
test.each([
  ["a head that it can't hold", `x-large: ${"v".repeat(2 * LIMITS.requestHeadBytesMax)}`],
  ["a line that is no header", "no header"],
])("haproxy: %s is refused with 400, and ends the connection", async (_, line) => {
  let isReached = false;
  await harness.serve((__, response) => {
    isReached = true;
    response.end();
  });
  const smuggled = "GET / HTTP/1.1\r\nhost: test.localhost\r\n\r\n";
  const answer = await harness.exchange(
    `GET / HTTP/1.1\r\nhost: test.localhost\r\n${line}\r\n\r\n${smuggled}`,
  );
  expect(answer).toMatch(/^HTTP\/1.1 400 /);
  expect(answer).toMatch(/x-atoll-error: request_invalid|Your browser sent an invalid request/i);
  expect(answer.match(/HTTP\/1.1 \d/g)).toHaveLength(1);
  expect(isReached).toBe(false);
});

test.each(['gzip, "x\\', "\u00e9\u00ff", "a\tb", "%[src] ${HOME} %%"])(
  "haproxy: the caller's words (%j) stay words in what the worker is told",
  async (words) => {
    await harness.serve((request, response) => response.end(request.headers["x-atoll-cf"]));
    const answer = await harness.call({ headers: { "accept-encoding": words } });
    expect(Object.keys(JSON.parse(answer.text))).toHaveLength(7);
  },
);

test("haproxy: reads one request of a connection at a time", async () => {
  let reached = 0;
  await harness.serve(() => {
    reached += 1;
  });
  const socket = await harness.dial();
  socket.write("GET / HTTP/1.1\r\nhost: test.localhost\r\n\r\n".repeat(2_000));
  await until(() => reached > 0, "the first request");
  const other = harness.call().catch(() => undefined);
  await until(() => reached > 1, "a request of another connection");
  expect(reached).toBe(2);
  socket.destroy();
  await ingress.close();
  await other;
});

test.each([
  [
    "both length headers",
    "content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    { "content-length": "0" },
  ],
  ["a folded header", "x-folded: a\r\n b\r\n\r\n", { "x-folded": "a   b" }],
  ["the same host twice", "host: test.localhost\r\n\r\n", { host: "test.localhost" }],
])("haproxy: %s reach a cell in one reading", async (_, lines, expected) => {
  await harness.serve((request, response) => response.end(JSON.stringify(request.headers)));
  const socket = await harness.dial();
  socket.write(`POST / HTTP/1.1\r\nhost: test.localhost\r\n${lines}`);
  const answer = await readUntil(socket, (text) => text.includes("}"));
  const seen = JSON.parse(answer.slice(answer.indexOf("{"), answer.lastIndexOf("}") + 1));
  expect(seen).toMatchObject(expected);
  expect("content-length" in seen && "transfer-encoding" in seen).toBe(false);
});
