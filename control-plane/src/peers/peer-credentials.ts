import { createHmac, timingSafeEqual } from "node:crypto";
import type { Clock } from "@atoll/kv-store";
import { LIMITS } from "../limits.ts";
import { deriveKey } from "../secrets/sealing.ts";

const CREDENTIAL = /^([0-9a-f-]{36})\.([0-9a-f-]{36})\.(\d{1,15})\.([\w-]{43})$/;

/**
 * What a control plane shows when it connects to another one: both know the installation's keys, which nobody
 * else does. A credential names who shows it to whom, so it is of no use elsewhere, and holds for a minute.
 */
export class PeerCredentials {
  readonly #key: Uint8Array;
  readonly #id: string;
  readonly #clock: Clock;

  /** `id` is this control plane's own. */
  constructor(parts: {
    readonly fleetSeed: Uint8Array;
    readonly id: string;
    readonly clock: Clock;
  }) {
    this.#key = deriveKey(parts.fleetSeed, "atoll links of control planes v1");
    this.#id = parts.id;
    this.#clock = parts.clock;
  }

  issue(to: string): string {
    const signed = `${this.#id}.${to}.${this.#clock.nowMs() + LIMITS.peerCredentialMs}`;
    return `${signed}.${this.#sign(signed).toString("base64url")}`;
  }

  /** Who shows it; `undefined` when it is not of this fleet, not for this control plane, or too old. */
  verify(credential: string): string | undefined {
    const [, from, to, expiresAtMs, signature = ""] = CREDENTIAL.exec(credential) ?? [];
    if (from === undefined) return undefined;
    const expected = this.#sign(`${from}.${to}.${expiresAtMs}`);
    if (!timingSafeEqual(Buffer.from(signature, "base64url"), expected)) return undefined;
    return to === this.#id && Number(expiresAtMs) > this.#clock.nowMs() ? from : undefined;
  }

  #sign(signed: string): Buffer {
    return createHmac("sha256", this.#key).update(signed).digest();
  }
}
