import type { Clock } from "@atoll/kv-store";
import { AuditStore, FLEET, OPERATOR } from "../audit/store.ts";
import { importPublicKey, type EnrolRequest } from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import { isDatabaseFault } from "../database/unavailable.ts";
import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { credentialId, isCredential, mintCredential } from "../secrets/credential.ts";
import type { EnrolledNode, JoinToken } from "./schemas.ts";
import { NodeStore } from "./store.ts";

export type { EnrolledNode, JoinToken } from "./schemas.ts";

const JOIN_KIND = "atoll-join";
const NODE_KIND = "atoll-node";

/** Who belongs to the fleet. Operators issue join tokens; a node turns one into its own credential. */
export class NodesService {
  readonly #database: Database;
  readonly #clock: Clock;
  readonly #store = new NodeStore();
  readonly #auditTrail = new AuditStore();

  constructor(parts: { readonly database: Database; readonly clock: Clock }) {
    this.#database = parts.database;
    this.#clock = parts.clock;
  }

  /** A token with which one node can join within `LIMITS.joinTokenMs`. */
  async issueJoinToken(): Promise<JoinToken> {
    const credential = mintCredential(JOIN_KIND);
    const expiresAt = new Date(this.#clock.nowMs() + LIMITS.joinTokenMs).toISOString();
    const entry = { action: "join_token.create", subject: credential.id, after: { expiresAt } };
    const actor = { account: FLEET, tokenId: OPERATOR };
    await this.#database.transaction().execute(async (transaction) => {
      await this.#store.insertJoinToken(transaction, { credential, expiresAt });
      await this.#auditTrail.append(transaction, entry, { actor, now: this.#now() });
    });
    return { token: credential.text, expiresAt };
  }

  /**
   * Uses up the token and gives the node its credential. A node of the same name is replaced: its old
   * credential no longer holds. Rejected with `join_token_invalid`, or `invalid_body` for a bad key;
   * then nothing changed and the token still holds.
   */
  async enrol(
    request: EnrolRequest,
    from: { readonly address?: string } = {},
  ): Promise<{ readonly credential: string }> {
    const sealingKey = parseSealingKey(request.sealingKey);
    const now = this.#now();
    const credential = mintCredential(NODE_KIND);
    const { name, region } = request;
    const node = { name, region, sealingKey, enrolledAt: now, lastSeenAt: now };
    await this.#database.transaction().execute(async (transaction) => {
      const tokenId = credentialId(JOIN_KIND, request.token);
      const token =
        tokenId === undefined ? undefined : await this.#store.findJoinToken(transaction, tokenId);
      if (token === undefined || !isCredential(request.token, token.credential)) {
        throw new ControlPlaneError(
          "join_token_invalid",
          "The join token is not one of this fleet",
        );
      }
      if (token.expiresAt <= now) {
        throw new ControlPlaneError(
          "join_token_invalid",
          `The join token expired at ${token.expiresAt}`,
        );
      }
      if (!(await this.#store.useJoinToken(transaction, token.credential.id, now))) {
        throw new ControlPlaneError(
          "join_token_invalid",
          "The join token was used already: issue another",
        );
      }
      await this.#store.put(transaction, { node, credential });
      const entry = { action: "node.enrol", subject: name, after: { region } };
      const actor = { account: FLEET, tokenId: token.credential.id, ...from };
      await this.#auditTrail.append(transaction, entry, { actor, now });
    });
    return { credential: credential.text };
  }

  /** Which node holds this credential; `undefined` when none does. */
  async authenticate(credential: string): Promise<EnrolledNode | undefined> {
    const id = credentialId(NODE_KIND, credential);
    const stored =
      id === undefined ? undefined : await this.#store.findByCredential(this.#database, id);
    if (stored === undefined || !isCredential(credential, stored.credential)) return undefined;
    const { node } = stored;
    const sinceMs = this.#clock.nowMs() - Date.parse(node.lastSeenAt);
    // Also when it lies ahead, because the clock was set back since.
    if (Math.abs(sinceMs) >= LIMITS.lastSeenMs) await this.#noteSeen(node);
    return node;
  }

  /** Every enrolled node, by name. */
  async list(): Promise<ReadonlyArray<EnrolledNode>> {
    return this.#store.list(this.#database);
  }

  /** For people: where it can't be written, such as on a full disk, a node reads all the same. */
  async #noteSeen({ name }: EnrolledNode): Promise<void> {
    try {
      await this.#store.touch(this.#database, name, this.#now());
    } catch (error) {
      // The next call writes it.
      if (!isDatabaseFault(error)) throw error;
    }
  }

  #now(): string {
    return new Date(this.#clock.nowMs()).toISOString();
  }
}

function parseSealingKey(text: string): Uint8Array {
  const key = Buffer.from(text, "base64");
  try {
    if (key.length !== 32) throw new Error(`it has ${key.length} bytes`);
    importPublicKey(key);
  } catch (cause) {
    throw new ControlPlaneError("invalid_body", "sealingKey: not the 32 bytes of an X25519 key", {
      cause,
    });
  }
  return key;
}
