import { afterEach, beforeEach, expect, test } from "vitest";
import { sampleModule, type SampleWorker } from "../config/sample-version.ts";
import { LIMITS } from "../limits.ts";
import { SampleSupervisor } from "./sample-supervisor.ts";

let sample: SampleSupervisor;

beforeEach(async () => {
  sample = await SampleSupervisor.open();
});
afterEach(() => sample.close());

function says(words: string): SampleWorker {
  return sampleModule(`export default { fetch: () => new Response("${words}") };`);
}

test("a killed cell: is told from one that lives, at once", async () => {
  const worker = says("hello");
  await sample.run(worker);
  const { socketPath } = await sample.supervisor.activate(worker.key);
  const begunMs = performance.now();
  expect(await sample.supervisor.lossOf(socketPath)).toBe("alive");
  expect(performance.now() - begunMs).toBeLessThan(LIMITS.cellEndMs / 2);
  for (const { pid } of await sample.supervisor.status()) process.kill(pid, "SIGKILL");
  expect(await sample.supervisor.lossOf(socketPath)).toBe("killed");
});

test("a cell: who asks for it while it is put out of use does not get its socket", async () => {
  const worker = says("hello");
  await sample.run(worker);
  await sample.supervisor.activate(worker.key);
  const asked = sample.supervisor.activate(worker.key);
  // The switch comes before any news of the socket that is being tried.
  const disposed = sample.supervisor.dispose();
  await expect(asked).rejects.toMatchObject({ code: "worker_unknown" });
  await disposed;
});
