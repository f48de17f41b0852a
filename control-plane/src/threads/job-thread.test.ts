import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { JobThread } from "./job-thread.ts";

// Answers what it was told, and how often it was asked since it was started; dies in the ways that are asked for.
const SCRIPT = new URL(
  `data:text/javascript,${encodeURIComponent(`
    import { parentPort } from "node:worker_threads";
    let count = 0;
    parentPort.on("message", (job) => {
      count += 1;
      if (job === "throw") throw new Error("out of order");
      if (job === "exit") process.exit(7);
      if (job === "refuse") parentPort.postMessage({ kind: "failed", error: new RangeError("no") });
      else parentPort.postMessage({ kind: "done", result: job + count });
    });
  `)}`,
);

let thread: JobThread<string, string>;
beforeEach(() => {
  thread = new JobThread(SCRIPT);
});
afterEach(() => thread.close());

describe("job thread: ", () => {
  test("jobs are done in their order, and each gets its own answer", async () => {
    const answers = ["a", "b", "refuse", "c"].map((job) => thread.run(job));
    const settled = await Promise.allSettled(answers);
    expect(settled).toMatchObject([
      { value: "a1" },
      { value: "b2" },
      { reason: new RangeError("no") },
      { value: "c4" },
    ]);
  });

  test.each([
    ["throw", "out of order"],
    ["exit", "exit code 7"],
  ])(
    "of one that dies (%s) all jobs are rejected, and the next is done by another",
    async (job, reason) => {
      const cause = expect.objectContaining({ message: expect.stringContaining(reason) });
      const settled = await Promise.allSettled([thread.run(job), thread.run("a")]);
      for (const { status, ...rest } of settled) {
        expect({ status, ...rest }).toMatchObject({
          status: "rejected",
          reason: { code: "thread_died", retryable: true, cause },
        });
      }
      expect(await thread.run("b")).toBe("b1");
    },
  );

  test("ends when it is closed, also twice or before anything was done; what it has is rejected", async () => {
    await thread.close();
    const running = thread.run("a");
    const ended = Promise.allSettled([running, thread.close()]);
    await thread.close();
    expect(await ended).toMatchObject([
      { reason: { code: "thread_died" } },
      { status: "fulfilled" },
    ]);
  });
});
