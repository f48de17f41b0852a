import { createHmac, hkdfSync, timingSafeEqual } from "node:crypto";
import { VersionId, WorkerKey } from "@atoll/control-plane/contract";

/** Whose events come from a cell. */
export interface TailSource {
  readonly worker: WorkerKey;
  readonly version: VersionId;
}

/**
 * What lets a worker's tail in a cell tell events of this worker, and of no other: its name under the node's own
 * key. The same worker and version get the same text, so that a config which was compiled once is good again.
 */
export class TailCapabilities {
  readonly #key: Uint8Array;

  constructor(nodeKey: Uint8Array) {
    this.#key = new Uint8Array(hkdfSync("sha256", nodeKey, new Uint8Array(), "atoll tails v1", 32));
  }

  of({ worker, version }: TailSource): string {
    return `${worker} ${version} ${this.#sign(`${worker} ${version}`)}`;
  }

  /** `undefined` for a text that was not made here. */
  resolve(capability: string): TailSource | undefined {
    const [worker = "", version = "", signature = ""] = capability.split(" ");
    const expected = Buffer.from(this.#sign(`${worker} ${version}`));
    const given = Buffer.from(signature);
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
    return { worker: WorkerKey.parse(worker), version: VersionId.parse(version) };
  }

  #sign(text: string): string {
    return createHmac("sha256", this.#key).update(text).digest("base64url");
  }
}
