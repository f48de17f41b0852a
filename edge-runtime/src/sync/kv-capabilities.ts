import { createHmac } from "node:crypto";
import type { DesiredWorker, WorkerKey } from "@atoll/control-plane/contract";
import type { NamespaceId } from "@atoll/kv-store";
import { workerKey } from "./state-follower.ts";

/**
 * What opens a namespace for a worker on this node: an HMAC of the two under the node's own key. It is the
 * same after a restart, so compiled configurations stay good, and nobody without the key can make one.
 */
export class KvCapabilities {
  readonly #nodeKey: Buffer;
  #granted: ReadonlyMap<string, NamespaceId> = new Map();

  constructor(nodeKey: Buffer) {
    this.#nodeKey = nodeKey;
  }

  /** The capability itself, granted or not. */
  of(worker: WorkerKey, namespace: NamespaceId): string {
    // Neither part can contain a line break, so no two pairs give the same text.
    return createHmac("sha256", this.#nodeKey).update(`kv\n${worker}\n${namespace}`).digest("hex");
  }

  /** Grants what these workers bind, and nothing else. */
  grant(workers: ReadonlyArray<DesiredWorker>): void {
    this.#granted = new Map(
      workers.flatMap((worker) =>
        boundNamespaces(worker).map(
          (namespace) => [this.of(workerKey(worker), namespace), namespace] as const,
        ),
      ),
    );
  }

  /** The namespace that a granted capability opens. */
  resolve(capability: string): NamespaceId | undefined {
    return this.#granted.get(capability);
  }
}

/** The namespaces that a worker binds. */
export function boundNamespaces(worker: DesiredWorker): ReadonlyArray<NamespaceId> {
  return worker.versions.flatMap(({ version }) =>
    version.bindings.flatMap((binding) =>
      binding.type === "kv_namespace" ? [binding.namespace_id] : [],
    ),
  );
}
