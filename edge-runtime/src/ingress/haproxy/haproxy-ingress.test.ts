import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, beforeAll } from "vitest";
import { describeIngress } from "../ingress.conformance.ts";
import { HaproxyIngress } from "./haproxy-ingress.ts";
import { findHaproxy } from "./haproxy-process.ts";

const binary = await findHaproxy();
if (binary.kind === "missing") throw new Error(`The tests need HAProxy: ${binary.reason}`);
let folder: string;
let count = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "haproxy-"));
});
afterAll(() => rm(folder, { recursive: true }));

const REFRAMED = "HAProxy reads it in the one way that HTTP allows and frames it anew";

describeIngress("HAProxy", {
  keepsHeaderCase: false,
  skip: [
    ...[
      "both length headers",
      "both length headers, the other way round",
      "a folded header",
      "a folded framing header",
      "the same host twice",
    ].map((name) => ({
      test: `${name}: 400, the connection closed, nothing in a cell`,
      reason: REFRAMED,
    })),
    {
      test: "a header of 200 KiB: refused",
      reason: "a head that HAProxy cannot hold is refused with 400, not 431, and with its own page",
    },
    {
      test: "a client that only ends its sending side still gets the answer",
      reason: "HAProxy takes it for gone, or would never notice one that is",
    },
    {
      test: "are not asked for when nobody wants them",
      reason: "after the answer HAProxy leaves it to the client to close the connection",
    },
    {
      test: "a flood of pipelined requests does not pile up in the cell",
      reason: "HAProxy reads one request at a time and leaves the others to the kernel",
    },
    {
      test: "tells of requests that were sent ahead by a client that leaves",
      reason: "HAProxy reads one request at a time, so the others never arrive",
    },
  ],
  open: (options) => {
    count += 1;
    return HaproxyIngress.open({
      ...options,
      binary: binary.path,
      directory: join(folder, String(count)),
      port: 0,
      log: pino({ level: "silent" }),
    });
  },
});
