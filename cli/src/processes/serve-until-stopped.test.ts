import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { expect, test } from "vitest";

/** A part that is ready when whoever started it has gone. */
const LATE = `
  import { setTimeout as wait } from "node:timers/promises";
  import { serveUntilStopped } from "${new URL("serve-until-stopped.ts", import.meta.url).href}";
  while (process.connected) await wait(5);
  serveUntilStopped({ close: async () => console.log("closed") });
`;

test("serve until stopped: a part whose parent ended during its start is closed like any other", async () => {
  const directory = await mkdtemp(join(tmpdir(), "atoll-part-"));
  try {
    const script = join(directory, "late.mjs");
    await writeFile(script, LATE);
    const part = fork(script, { stdio: ["ignore", "pipe", "pipe", "ipc"] });
    const outputs = [part.stdout, part.stderr].map(async (stream) => stream && text(stream));
    part.disconnect();
    const ending: unknown[] = await once(part, "exit");
    expect(await Promise.all(outputs)).toEqual(["closed\n", ""]);
    expect(ending).toEqual([0, null]);
  } finally {
    await rm(directory, { recursive: true });
  }
});
