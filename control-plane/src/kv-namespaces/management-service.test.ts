import { generateKeyPairSync } from "node:crypto";
import { Key, NamespaceId } from "@atoll/kv-store";
import { afterEach, beforeEach, expect, test } from "vitest";
import { KvStatus, NodeName, rawPublicKey, Region, StateRevision } from "../contract/index.ts";
import { EMPTY_REPORT, FleetRegistry } from "../fleet/fleet-registry.ts";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";
import { EntriesService } from "./entries-service.ts";
import { ManagementService } from "./management-service.ts";

let api: ControlPlaneApi;
let id: NamespaceId;
let registry: FleetRegistry;
let management: ManagementService;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
  const made = await api.call("POST A/storage/kv/namespaces", { title: "words" });
  id = NamespaceId.parse(made.result.id);
  registry = new FleetRegistry();
  const { origin } = api;
  const { blobs, nodes, accounts } = api.controlPlane;
  const entries = new EntriesService({ origin, blobs });
  const charges = { charge: () => Promise.resolve() };
  const parts = { origin, entries, blobs, nodes, registry, accounts, charges };
  management = new ManagementService(parts);
});
afterEach(() => api.close());

/** A node that has told how its copy is. */
async function addNode(name: string, told: Partial<KvStatus>, connected = true): Promise<void> {
  const { nodes } = api.controlPlane;
  const { token } = await nodes.issueJoinToken();
  const { publicKey } = generateKeyPairSync("x25519");
  const node = { name: NodeName.parse(name), region: Region.parse("fra") };
  const sealingKey = rawPublicKey(publicKey).toString("base64");
  await nodes.enrol({ ...node, token, sealingKey });
  const status = KvStatus.parse({ namespace: id, revision: 0, lagMs: 1, ...told });
  registry.update({
    ...{ ...node, connected, revision: StateRevision.parse(0), failures: [] },
    report: { ...EMPTY_REPORT, kv: [status] },
  });
}

test("kv check: each node's copy is the origin's of now, or of then, or of never", async () => {
  const write = async (key: string): Promise<void> => {
    const value = { kind: "inline", bytes: Buffer.from("1") } as const;
    await api.origin.write(id, [{ kind: "put", key: Key.parse(key), value }]);
  };
  await write("a");
  const earlier = await api.origin.point(id);
  await write("b");
  const latest = await api.origin.point(id);
  await addNode("n1", latest);
  await addNode("n2", earlier);
  await addNode("n3", { ...latest, digest: earlier.digest });
  await addNode("n4", { revision: 9, digest: latest.digest });
  await addNode("n5", { ...latest, digest: null });
  await addNode("n6", latest, false);
  const { findings, replicas } = await management.check(
    { id, title: "words" },
    { isContentRead: false },
  );
  expect(findings).toEqual([]);
  expect(replicas.map(({ node, verdict }) => `${node} ${verdict}`)).toEqual([
    ...["n1 same", "n2 behind", "n3 differs", "n4 differs", "n5 unknown", "n6 unknown"],
  ]);
  const { namespaces } = await management.status(api.principal(), { id, title: "words" });
  expect(namespaces[0]?.replicas[1]).toMatchObject({ node: "n2", revision: 1, connected: true });
});

test("kv status: a namespace that is removed meanwhile is left out of all, and is not found by itself", async () => {
  const words = { id, title: "words" };
  const removed = { id: NamespaceId.parse("f".repeat(32)), title: "removed" };
  const { account, namespaces } = await management.statusOfListed(api.principal(), [
    removed,
    words,
  ]);
  expect(namespaces.map(({ title }) => title)).toEqual(["words"]);
  expect(account.name).toBe("Ours");
  await expect(management.status(api.principal(), removed)).rejects.toMatchObject({
    code: "namespace_not_found",
  });
});
