import { createServer } from "node:http";
import { once } from "node:events";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NodeName, Region } from "@atoll/control-plane/contract";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ControlPlanes } from "./control-planes.ts";
import { loadOrEnrol } from "./identity.ts";

let dataDirectory: string;
beforeEach(async () => {
  dataDirectory = await mkdtemp(join(tmpdir(), "atoll-identity-"));
});
afterEach(() => rm(dataDirectory, { recursive: true }));

function enrol(url: string, joinToken?: string) {
  const controlPlanes = new ControlPlanes([url]);
  const place = { name: NodeName.parse("fra"), region: Region.parse("fra") };
  return loadOrEnrol({ dataDirectory, controlPlanes, joinToken, ...place });
}

test("identity: a node that has none says how to get one, or why it gets none, and keeps nothing", async () => {
  const server = createServer((_, response) => response.writeHead(403).end("no such token"));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const refused = (message: RegExp) => ({ code: "not_enrolled", message });
  await expect(enrol(url)).rejects.toMatchObject(refused(/join the fleet with --join TOKEN/));
  await expect(enrol(url, "x")).rejects.toMatchObject(refused(/refused to enrol fra: no such/));
  server.close();
  await once(server, "close");
  await expect(enrol(url, "x")).rejects.toMatchObject(refused(/^No control plane answers at http/));
  expect(await readdir(dataDirectory)).toEqual([]);
});
