import { createHash } from "node:crypto";
import { BlobHash, VersionId, type AccountId, type Version } from "@atoll/control-plane/contract";
import { WorkerName } from "@atoll/control-plane/contract";
import type { GroupMember } from "../config/group-config.ts";

/** A worker that stands where another one is bound, with that one's entrypoints, and does nothing. */
export interface StubWorker {
  readonly member: GroupMember;
  readonly blob: string;
  readonly source: string;
}

// Nothing checks the identity of a version that only ever stands in a throw-away cell.
const STUB_VERSION = VersionId.parse("00000000-0000-4000-8000-000000000000");

/** Makes a stub for each worker that a version binds. */
export function stubWorkers(version: Version, account: AccountId): ReadonlyArray<StubWorker> {
  const services = version.bindings.filter((binding) => binding.type === "service");
  const byName = Map.groupBy(services, (binding) => binding.service);
  return [...byName].map(([name, bindings]) => {
    const entrypoints = new Set(bindings.flatMap((binding) => binding.entrypoint ?? []));
    return stubWorker({ name, account, entrypoints: [...entrypoints], version });
  });
}

/** A name that no bound worker has. */
export function unboundName(version: Version): WorkerName {
  const taken = new Set(
    version.bindings.flatMap((binding) => (binding.type === "service" ? [binding.service] : [])),
  );
  for (let number = 0; ; number += 1) {
    const name = WorkerName.parse(`candidate-${number}`);
    if (!taken.has(name)) return name;
  }
}

function stubWorker(stub: {
  readonly name: WorkerName;
  readonly account: AccountId;
  readonly entrypoints: ReadonlyArray<string>;
  readonly version: Version;
}): StubWorker {
  const source = stubSource(stub.entrypoints);
  const blob = BlobHash.parse(createHash("sha256").update(source).digest("hex"));
  const size = Buffer.byteLength(source);
  const member = {
    key: `${stub.account}/${stub.name}`,
    name: stub.name,
    secrets: {},
    version: {
      id: STUB_VERSION,
      number: 1,
      createdAt: stub.version.createdAt,
      code: { kind: "modules", modules: [{ name: "stub.js", kind: "esm", blob, size }] },
      compatibilityDate: stub.version.compatibilityDate,
      compatibilityFlags: [],
      bindings: [],
    },
  } satisfies GroupMember;
  return { member, blob, source };
}

function stubSource(entrypoints: ReadonlyArray<string>): string {
  const named = entrypoints.filter((name) => name !== "default");
  // Exports may have any text as their name when it is written as a string, so nothing needs escaping.
  const exports = named.map((name) => `Stub as ${JSON.stringify(name.toWellFormed())}`);
  return [
    `import { WorkerEntrypoint } from "cloudflare:workers";`,
    `class Stub extends WorkerEntrypoint {}`,
    `export { ${exports.join(", ")} };`,
    `export default {};`,
  ].join("\n");
}
