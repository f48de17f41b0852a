import { randomUUID } from "node:crypto";
import type { Clock } from "@atoll/kv-store";
import { refuseAssets } from "../accounts/quota.ts";
import { AccountStore } from "../accounts/store.ts";
import type { BlobStore } from "../blobs/blob-store.ts";
import type { AccountId, BlobHash } from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import type { Mutations } from "../desired-state/mutations.ts";
import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { CompletedAssets, Target } from "../versions/service.ts";
import type { SentAsset } from "./asset-batch.ts";
import { requireAssetSize } from "./asset-checks.ts";
import type { AssetDecoder } from "./asset-decoder.ts";
import type { AssetTokens, ClaimsOf } from "./asset-tokens.ts";
import { filesByHash, packBuckets, type FilesByHash } from "./buckets.ts";
import type { AnnouncedManifest, AssetSession } from "./schemas.ts";
import { AssetStore } from "./store.ts";
import { UploadedContents } from "./uploaded-contents.ts";

/** One file of a bucket. */
export type UploadedAsset = Omit<SentAsset, "announced">;

/** The answer to an announcement: what to send, and the token to send it with. */
export interface StartedUpload {
  /** A completion token when nothing is missing. */
  readonly token: string;
  readonly buckets: ReadonlyArray<ReadonlyArray<string>>;
}

export interface AssetsServiceParts {
  readonly database: Database;
  readonly mutations: Mutations;
  readonly blobs: BlobStore;
  readonly decoder: AssetDecoder;
  readonly tokens: AssetTokens;
  readonly clock: Clock;
}

/**
 * Uploads of static files. wrangler announces all of them by hash, sends those that the account does not
 * have, and gets a token that stands for the whole manifest when a version is uploaded.
 */
export class AssetsService implements CompletedAssets {
  readonly #parts: AssetsServiceParts;
  readonly #assets = new AssetStore();
  readonly #contents: UploadedContents;
  /** Files of the sessions that were last asked for, the latest at the end. */
  readonly #recent = new Map<string, FilesByHash>();
  readonly #accounts = new AccountStore();

  constructor(parts: AssetsServiceParts) {
    this.#parts = parts;
    this.#contents = new UploadedContents(parts);
  }

  /** Begins an upload. The worker need not exist yet. Rejected with `assets_exceeded` over the account's quota. */
  async start(target: Target, manifest: AnnouncedManifest): Promise<StartedUpload> {
    checkSizes(manifest);
    const { account } = target.principal;
    await this.#requireQuota(account, Object.values(manifest));
    const session = { id: randomUUID(), account, worker: target.name, manifest };
    const oldest = new Date(this.#now() - LIMITS.assetSessionMs).toISOString();
    await this.#parts.mutations.run(target.principal, async ({ transaction, now }) => {
      await this.#assets.removeSessionsBefore(transaction, oldest);
      await this.#assets.insertSession(transaction, { ...session, createdAt: now });
      const hashes = [...filesByHash(manifest).keys()];
      await this.#assets.touch(transaction, { account, hashes, usedAt: now });
    });
    const claims = { session: session.id, account, worker: target.name };
    const missing = await this.#missing(session);
    const kind = missing.size === 0 ? "completion" : "upload";
    const token = this.#parts.tokens.issue({ ...claims, kind }, this.#now());
    return { token, buckets: packBuckets(missing) };
  }

  /** Reads the token of an upload; see `AssetTokens.verify`. */
  claimsOf(token: string): ClaimsOf<"upload"> {
    return this.#parts.tokens.verify(token, "upload", this.#now());
  }

  /**
   * Stores files of a session. Resolves with the completion token once nothing is missing any more.
   * Rejected with `asset_invalid` when one's content does not have its hash or size; then all are to be sent again.
   */
  async upload(
    claims: ClaimsOf<"upload">,
    assets: AsyncIterable<UploadedAsset>,
  ): Promise<string | undefined> {
    const { session: id, account, worker } = claims;
    const files = await this.#filesOf(id);
    await this.#contents.store(account, announced(assets, files));
    const { database } = this.#parts;
    const isComplete = await this.#assets.hasAll(database, account, [...files.keys()]);
    if (!isComplete) return undefined;
    const completed = { kind: "completion", session: id, account, worker } as const;
    return this.#parts.tokens.issue(completed, this.#now());
  }

  /**
   * Stores the manifest that a completion token stands for, and tells its hash. Rejected with `assets_exceeded` over the
   * account's quota.
   */
  async manifestOf({ principal, name }: Target, token: string): Promise<BlobHash> {
    const claims = this.#parts.tokens.verify(token, "completion", this.#now());
    if (claims.account !== principal.account || claims.worker !== name) {
      throw new ControlPlaneError(
        "asset_session_invalid",
        `The assets were uploaded for the worker '${claims.worker}', not for '${name}'`,
      );
    }
    const session = await this.#session(claims.session);
    const hashes = [...filesByHash(session.manifest).keys()];
    const { database } = this.#parts;
    const contents = await this.#assets.findContents(database, claims.account, hashes);
    const files = Object.entries(session.manifest).map(([path, { hash }]) => {
      const found = contents.get(hash);
      if (found === undefined) throw new Error(`asset ${hash} of a completed upload is missing`);
      return [path, found] as const;
    });
    // Once more, of what is stored: of a file that the account had already nobody looked at the announced size.
    const stored = files.map(([, content]) => content);
    await this.#requireQuota(claims.account, stored);
    return this.#contents.writeManifest(files);
  }

  async #requireQuota(
    account: AccountId,
    files: ReadonlyArray<{ readonly size: number }>,
  ): Promise<void> {
    const { quota } = await this.#accounts.configured(this.#parts.database, account);
    const bytes = files.reduce((sum, { size }) => sum + size, 0);
    refuseAssets(quota, { count: files.length, bytes });
  }

  /** A session never changes, and each bucket of it asks for the same. */
  async #filesOf(id: string): Promise<FilesByHash> {
    const files = this.#recent.get(id) ?? filesByHash((await this.#session(id)).manifest);
    this.#recent.delete(id);
    this.#recent.set(id, files);
    for (const oldest of this.#recent.keys()) {
      if (this.#recent.size <= LIMITS.assetSessionsHeldMax) break;
      this.#recent.delete(oldest);
    }
    return files;
  }

  async #session(id: string): Promise<AssetSession> {
    const session = await this.#assets.findSession(this.#parts.database, id);
    if (session !== undefined) return session;
    throw new ControlPlaneError(
      "asset_session_invalid",
      "The upload of assets is too old: start it again",
    );
  }

  async #missing(session: AssetSession) {
    const files = filesByHash(session.manifest);
    const known = await this.#assets.findContents(this.#parts.database, session.account, [
      ...files.keys(),
    ]);
    return new Map([...files].filter(([hash]) => !known.has(hash)));
  }

  #now(): number {
    return this.#parts.clock.nowMs();
  }
}

/** Throws `asset_invalid` when it comes to a file that was not announced. */
async function* announced(
  assets: AsyncIterable<UploadedAsset>,
  files: FilesByHash,
): AsyncIterable<SentAsset> {
  for await (const asset of assets) {
    const file = files.get(asset.hash);
    if (file === undefined) {
      throw new ControlPlaneError("asset_invalid", `The asset ${asset.hash} was not announced`);
    }
    yield { ...asset, announced: file };
  }
}

function checkSizes(manifest: AnnouncedManifest): void {
  for (const [path, { size }] of Object.entries(manifest)) requireAssetSize(`'${path}'`, size);
}
