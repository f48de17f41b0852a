import { createHmac } from "node:crypto";
import { VersionId, type DesiredWorker, type WorkerKey } from "@atoll/control-plane/contract";
import type { NamespaceId } from "@atoll/kv-store";
import { workerKey } from "./state-follower.ts";

/** A version of a worker that calls a namespace. */
export interface KvCaller {
  readonly worker: WorkerKey;
  readonly version: VersionId;
}

/**
 * What opens a namespace for a worker on this node: an HMAC of the two under the node's own key. It is the
 * same after a restart, so compiled configurations stay good, and nobody without the key can make one. The
 * caller's version follows it: all versions may what one may, and each is told apart from the others.
 */
export class KvCapabilities {
  readonly #nodeKey: Buffer;
  #granted: ReadonlyMap<string, Grant> = new Map();

  constructor(nodeKey: Buffer) {
    this.#nodeKey = nodeKey;
  }

  /** The capability itself, granted or not. */
  of({ worker, version }: KvCaller, namespace: NamespaceId): string {
    return `${this.#digest(worker, namespace)}.${version}`;
  }

  /** Grants what these workers bind, and nothing else. */
  grant(workers: ReadonlyArray<DesiredWorker>): void {
    this.#granted = new Map(
      workers.flatMap((worker) =>
        boundNamespaces(worker).map((namespace): [string, Grant] => {
          const key = workerKey(worker);
          return [this.#digest(key, namespace), { worker: key, namespace }];
        }),
      ),
    );
  }

  /** The namespace that a granted capability opens. */
  resolve(capability: string): NamespaceId | undefined {
    return this.#granted.get(digestOf(capability))?.namespace;
  }

  /** Who calls with a granted capability. */
  callerOf(capability: string): KvCaller | undefined {
    const grant = this.#granted.get(digestOf(capability));
    const version = VersionId.safeParse(capability.slice(DIGEST_LENGTH + 1));
    return grant && version.success ? { worker: grant.worker, version: version.data } : undefined;
  }

  #digest(worker: WorkerKey, namespace: NamespaceId): string {
    // Neither part can contain a line break, so no two pairs give the same text.
    return createHmac("sha256", this.#nodeKey).update(`kv\n${worker}\n${namespace}`).digest("hex");
  }
}

interface Grant {
  readonly worker: WorkerKey;
  readonly namespace: NamespaceId;
}

/** Hexadecimal digits of SHA-256. */
const DIGEST_LENGTH = 64;

function digestOf(capability: string): string {
  return capability.slice(0, DIGEST_LENGTH);
}

/** The namespaces that a worker binds. */
export function boundNamespaces(worker: DesiredWorker): ReadonlyArray<NamespaceId> {
  return worker.versions.flatMap(({ version }) =>
    version.bindings.flatMap((binding) =>
      binding.type === "kv_namespace" ? [binding.namespace_id] : [],
    ),
  );
}
