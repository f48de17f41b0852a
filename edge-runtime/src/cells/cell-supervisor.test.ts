import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import { afterEach, beforeEach, expect, test } from "vitest";
import { says } from "../config/sample-version.ts";
import { LIMITS } from "../limits.ts";
import { RoutedSupervisor } from "./routed-supervisor.ts";

let cells: RoutedSupervisor;
beforeEach(async () => {
  cells = await RoutedSupervisor.open();
});
afterEach(() => cells.close());

test("supervisor: 100 concurrent activations start one cell", async () => {
  const worker = says("hello");
  expect(await cells.supervisor.apply([worker])).toEqual([]);
  const activations = await Promise.all(
    Array.from({ length: 100 }, () => cells.supervisor.activate(worker.key)),
  );
  expect(new Set(activations.map((activation) => activation.socketPath)).size).toBe(1);
  expect(activations.every((activation) => (activation.coldMs ?? 0) > 0)).toBe(true);
  expect(cells.openServices).toBe(1);
  expect(cells.routes.published.get(worker.key)).toEqual([activations[0]?.socketPath]);
  expect(await cells.supervisor.activate(worker.key)).toEqual({
    socketPath: activations[0]?.socketPath,
  });
});

test("supervisor: requests past the bounded queue of a cold worker are refused", async () => {
  const worker = says("hello");
  await cells.supervisor.apply([worker]);
  const calls = Array.from({ length: LIMITS.activationQueueMax + 1 }, () =>
    cells.supervisor.activate(worker.key),
  );
  const results = await Promise.allSettled(calls);
  const refused = results.filter((result) => result.status === "rejected");
  expect(refused).toHaveLength(1);
  expect(refused[0]?.reason).toMatchObject({ code: "queue_full" });
});

test("supervisor: a worker that is not run here is unknown", async () => {
  await cells.supervisor.apply([]);
  await expect(cells.supervisor.activate(says("x").key)).rejects.toMatchObject({
    code: "worker_unknown",
  });
});

test("supervisor: a request that waits for a cold worker while it is redeployed is answered", async () => {
  await cells.supervisor.apply([says("old")]);
  const { key } = says("old");
  const asked = Array.from({ length: 20 }, () => cells.request(key));
  await cells.supervisor.apply([says("new")]);
  const bodies = (await Promise.all(asked)).map((answer) => answer.body);
  expect(bodies.filter((body) => body !== "old" && body !== "new")).toEqual([]);
  expect(await cells.ask(says(""))).toBe("new");
});

test("supervisor: the status tells memory, time and state of each cell", async () => {
  const worker = says("hello");
  await cells.supervisor.apply([worker]);
  expect(cells.supervisor.status()).toEqual([]);
  await cells.ask(worker);
  const [status] = cells.supervisor.status();
  expect(status).toMatchObject({ workers: ["sample"], version: worker.version.id, state: "warm" });
  expect(status?.memoryBytes).toBeGreaterThan(1024 * 1024);
  expect(status?.cpuMs).toBeGreaterThanOrEqual(0);
});

test("supervisor: an idle cell is stopped, and the next request starts it again", async () => {
  const worker = says("hello");
  await cells.supervisor.apply([worker]);
  await cells.ask(worker);
  // The first look only notes the CPU cells.clock.
  cells.clock.advance(LIMITS.cellLookMs);
  await waitFor(async () => {
    cells.clock.advance(LIMITS.idleMs);
    expect(cells.routes.published.has(worker.key)).toBe(false);
  });
  await waitFor(() => expect(cells.openServices).toBe(0));
  expect(cells.supervisor.ends).toEqual({ cellFaults: [], cellEnds: { idle: 1 } });
  expect(await cells.request(worker.key)).toMatchObject({ body: "hello", isCold: true });
});

test("supervisor: a worker counts as watched when requests go to the cell that tells", async () => {
  const worker = says("watched");
  await cells.supervisor.apply([worker]);
  await cells.ask(worker);
  const [own] = cells.routes.published.get(worker.key) ?? [];
  const { promise: settling, resolve: settle } = Promise.withResolvers<void>();
  cells.routes.settling = settling;
  let isWatched = false;
  const watching = cells.supervisor.watched
    .watch(new Set([worker.key]))
    .then(() => (isWatched = true));
  await waitFor(() => expect(cells.routes.published.get(worker.key)).not.toEqual([own]));
  await new Promise(setImmediate);
  expect(isWatched).toBe(false);
  settle();
  await watching;
  await cells.supervisor.watched.watch(new Set());
});

test("supervisor: a start that is under way when it is disposed leaves nothing", async () => {
  const worker = says("hello");
  await cells.supervisor.apply([worker]);
  const activation = cells.supervisor.activate(worker.key).catch((error: unknown) => error);
  await Promise.all([cells.supervisor.dispose(), cells.supervisor.dispose()]);
  expect(await activation).toMatchObject({ code: "worker_unknown" });
  expect(cells.supervisor.status()).toEqual([]);
  await expect(cells.supervisor.apply([worker])).rejects.toMatchObject({ code: "closed" });
});
