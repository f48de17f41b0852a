import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import type { Readable } from "node:stream";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Region, type WorkerKey } from "@atoll/control-plane/contract";
import { BuiltinIngress } from "./builtin-ingress.ts";

const WORKER: WorkerKey = `${"0".repeat(32)}/test`;

describe("built-in ingress behind a trusted proxy", () => {
  let folder: string;
  let ingress: BuiltinIngress;
  const served: WorkerKey[] = [];
  const cell = createServer((request, response) => response.end(JSON.stringify(request.headers)));

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "fallback-"));
    cell.listen(join(folder, "cell.sock"));
    await once(cell, "listening");
    // What a killed process leaves behind is in nobody's way.
    await writeFile(join(folder, "fallback.sock"), "");
    ingress = await BuiltinIngress.open({
      port: 0,
      fallbackSocketPath: join(folder, "fallback.sock"),
      region: Region.parse("nrt"),
      activator: {
        activate: async () => ({ socketPath: join(folder, "cell.sock") }),
        lossOf: async () => undefined,
      },
      log: pino({ level: "silent" }),
      onServed: ({ worker }) => served.push(worker),
    });
    ingress.setRoutes([{ pattern: "https://test.localhost/*", worker: WORKER }]);
  });
  afterEach(async () => {
    await ingress.close();
    cell.close();
    await once(cell, "close");
    await rm(folder, { recursive: true });
  });

  const CLAIMS = {
    host: "test.localhost",
    "cf-connecting-ip": "192.0.2.7",
    "x-forwarded-proto": "https",
    "cf-ray": "0123456789abcdef-nrt",
    "x-atoll-cf": "forged",
  };

  async function ask(where: { socketPath: string } | { port: number }): Promise<{
    readonly status: number | undefined;
    readonly seen: Record<string, string>;
  }> {
    const request = httpRequest({ ...where, headers: CLAIMS, agent: false });
    request.end();
    const [response] = (await once(request, "response")) as [Readable & { statusCode?: number }];
    const status = response.statusCode;
    if (status !== 200) {
      response.resume();
      return { status, seen: {} };
    }
    return { status, seen: (await json(response)) as Record<string, string> };
  }

  test("keeps the caller that the proxy names, and routes by its scheme", async () => {
    const { status, seen } = await ask({ socketPath: join(folder, "fallback.sock") });
    expect(status).toBe(200);
    expect(seen).toMatchObject({
      "cf-connecting-ip": "192.0.2.7",
      "x-forwarded-proto": "https",
      "cf-ray": "0123456789abcdef-nrt",
    });
    expect(JSON.parse(seen["x-atoll-cf"] ?? "")).toMatchObject({ colo: "NRT" });
    expect(served).toEqual([WORKER]);
  });

  test("believes nobody on the port for the world", async () => {
    expect((await ask({ port: Number(new URL(ingress.url).port) })).status).toBe(404);
    ingress.setRoutes([{ pattern: "test.localhost/*", worker: WORKER }]);
    const { seen } = await ask({ port: Number(new URL(ingress.url).port) });
    expect(seen).toMatchObject({
      "cf-connecting-ip": "127.0.0.1",
      "x-forwarded-proto": "http",
    });
    expect(seen["cf-ray"]).not.toBe(CLAIMS["cf-ray"]);
  });
});
