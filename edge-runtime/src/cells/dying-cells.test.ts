import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import { afterEach, beforeEach, expect, test } from "vitest";
import { says } from "../config/sample-version.ts";
import { askCell } from "./cell-client.ts";
import { RoutedSupervisor } from "./routed-supervisor.ts";

let cells: RoutedSupervisor;
beforeEach(async () => {
  cells = await RoutedSupervisor.open();
});
afterEach(() => cells.close());

test("dying cells: a killed cell comes back by itself, and its neighbours never notice", async () => {
  const victim = says("victim", { name: "victim" });
  const neighbour = says("neighbour", { name: "neighbour" });
  await cells.supervisor.apply([victim, neighbour]);
  await Promise.all([cells.ask(victim), cells.ask(neighbour)]);
  const done = new AbortController();
  const load = (async () => {
    while (!done.signal.aborted) expect(await cells.ask(neighbour)).toBe("neighbour");
  })();
  const before = cells.pidOf("victim");
  await cells.killCell("victim");
  await waitFor(async () => expect(cells.pidOf("victim")).not.toBe(before));
  const answer = await cells.request(victim.key);
  expect(answer).toMatchObject({ body: "victim", isCold: false });
  done.abort();
  await load;
});

test("dying cells: a cell that keeps dying rests, longer each time, and a new version is not held up", async () => {
  const worker = says("hello");
  await cells.supervisor.apply([worker]);
  let refusal: unknown;
  let deaths = 0;
  for (; refusal === undefined && deaths < 20; deaths += 1) {
    refusal = await cells.supervisor.activate(worker.key).then(
      () => undefined,
      (error: unknown) => error,
    );
    if (refusal === undefined) await cells.killCell("sample");
  }
  expect(refusal).toMatchObject({ code: "cell_backoff" });
  expect(deaths).toBeGreaterThan(2);
  await cells.supervisor.apply([says("fixed")]);
  expect(await cells.ask(worker)).toBe("fixed");
});

test("dying cells: who finds a cell dying gets a fresh one, not its socket", async () => {
  const worker = says("hello");
  await cells.supervisor.apply([worker]);
  const before = await cells.supervisor.activate(worker.key);
  // At once, while its sockets may still accept.
  process.kill(cells.pidOf("sample"), "SIGKILL");
  const after = await cells.supervisor.activate(worker.key);
  expect((await askCell({ socketPath: after.socketPath, timeoutMs: 5_000 })).body).toBe("hello");
  expect(after.socketPath).not.toBe(before.socketPath);
  expect(await cells.supervisor.lossOf(before.socketPath)).toBe("killed");
});
