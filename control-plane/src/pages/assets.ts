import type { Clock } from "@atoll/kv-store";
import { refuseAssets } from "../accounts/quota.ts";
import { AccountStore } from "../accounts/store.ts";
import { requireAssetHash, requireAssetSize } from "../assets/asset-checks.ts";
import type { SentAsset } from "../assets/asset-batch.ts";
import { hashAsset, type AssetDecoder } from "../assets/asset-decoder.ts";
import type { AssetTokens, ClaimsOf } from "../assets/asset-tokens.ts";
import type { AssetHash } from "../assets/schemas.ts";
import { AssetStore } from "../assets/store.ts";
import { UploadedContents, type StoredContent } from "../assets/uploaded-contents.ts";
import type { BlobStore } from "../blobs/blob-store.ts";
import { chunksOf } from "../chunks-of.ts";
import type { AccountId, BlobHash, WorkerName } from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { Target } from "../versions/service.ts";
import type { PagesFiles, PagesManifest } from "./schemas.ts";

/** Whose files these are. */
interface Place {
  readonly account: AccountId;
  readonly project: WorkerName;
}

export interface PagesAssetsParts {
  readonly database: Database;
  readonly blobs: BlobStore;
  readonly decoder: AssetDecoder;
  readonly tokens: AssetTokens;
  readonly clock: Clock;
}

/**
 * Uploads of files to Pages. They come by a hash over content and extension, and without the extension: only the
 * manifest of a deployment shows whether a file is what it is called. Until then it is *staged*, under a name that
 * no other project asks for; from then on the account has it, like what was uploaded for workers.
 */
export class PagesAssets {
  readonly #parts: PagesAssetsParts;
  readonly #assets = new AssetStore();
  readonly #accounts = new AccountStore();
  readonly #contents: UploadedContents;

  constructor(parts: PagesAssetsParts) {
    this.#parts = parts;
    this.#contents = new UploadedContents(parts);
  }

  /** A token that lets files of the project in. */
  async issueToken({ principal, name }: Target): Promise<string> {
    const { account } = principal;
    const { quota } = await this.#accounts.configured(this.#parts.database, account);
    const count = Math.min(quota.assetsMax ?? LIMITS.assetsMax, LIMITS.assetsMax);
    const claims = { kind: "pages", account, worker: name, max_file_count_allowed: count } as const;
    return this.#parts.tokens.issue(claims, this.#parts.clock.nowMs());
  }

  /** Whose files a token lets in. Throws `pages_token_invalid`. */
  placeOf(token: string): Place {
    const claims: ClaimsOf<"pages"> = this.#parts.tokens.verify(
      token,
      "pages",
      this.#parts.clock.nowMs(),
    );
    return { account: claims.account, project: claims.worker };
  }

  /** Those of the hashes that are neither the account's nor staged. The others stay for a day, at least. */
  async missing(
    { account, project }: Place,
    hashes: ReadonlyArray<AssetHash>,
  ): Promise<ReadonlyArray<AssetHash>> {
    const { database, clock } = this.#parts;
    const distinct = [...new Set(hashes)];
    const names = [...distinct, ...distinct.map((hash) => stagedName(project, hash))];
    const usedAt = new Date(clock.nowMs()).toISOString();
    await database
      .transaction()
      .execute((transaction) =>
        this.#assets.touch(transaction, { account, hashes: names, usedAt }),
      );
    const known = await this.#assets.findContents(database, account, names);
    return distinct.filter((hash) => !known.has(hash) && !known.has(stagedName(project, hash)));
  }

  /** Stages files. Rejected with `asset_invalid`, or `assets_exceeded` for more than one deployment may have. */
  async stage({ account, project }: Place, files: PagesFiles): Promise<void> {
    const { database } = this.#parts;
    const { quota } = await this.#accounts.configured(database, account);
    const staged = await this.#assets.stagedSize(database, { account, project });
    const sizes = files.map(({ value }) => Buffer.byteLength(value, "base64"));
    const sizeOf = new Map(files.map(({ key }, index) => [stagedName(project, key), sizes[index]]));
    // A bucket whose answer was lost is sent again: what is staged already is no more than it was.
    const again = await this.#assets.findContents(database, account, [...sizeOf.keys()]);
    const added = [...sizeOf].filter(([name]) => !again.has(name));
    const total = {
      count: staged.count + added.length,
      bytes: added.reduce((sum, [, size]) => sum + (size ?? 0), staged.bytes),
    };
    refuseAssets({ ...quota, assetsMax: quota.assetsMax ?? LIMITS.assetsMax }, total);
    for (const [index, { key }] of files.entries()) requireAssetSize(key, sizes[index] ?? 0);
    await this.#contents.store(account, staging(project, files));
  }

  /**
   * Stores the manifest of a deployment, and tells its hash. Rejected with `asset_invalid` when a file is not there, or
   * is not what it is called: then it is staged no more. Rejected with `assets_exceeded` over the account's quota.
   */
  async writeManifest(place: Place, manifest: PagesManifest): Promise<BlobHash> {
    const { database } = this.#parts;
    const { account, project } = place;
    const paths = new Map(Object.entries(manifest).map(([path, hash]) => [hash, path]));
    const hashes = [...paths.keys()];
    // First, because another deployment of them makes them the account's, and only then stages them no more.
    const staged = await this.#assets.findContents(
      database,
      account,
      hashes.map((hash) => stagedName(project, hash)),
    );
    const known = new Map(await this.#assets.findContents(database, account, hashes));
    const unknown = hashes.filter((hash) => !known.has(hash));
    for (const hash of unknown) {
      const content = staged.get(stagedName(project, hash));
      if (content === undefined) throw notUploaded(paths.get(hash), hash);
      known.set(hash, { ...content, hash });
    }
    const files = Object.entries(manifest).map(
      ([path, hash]) => [path, requireContent(known, hash)] as const,
    );
    const { quota } = await this.#accounts.configured(database, account);
    const bytes = files.reduce((sum, [, { size }]) => sum + size, 0);
    refuseAssets(quota, { count: files.length, bytes });
    await this.#verify(
      place,
      unknown.map((hash) => ({ ...requireContent(known, hash), path: paths.get(hash) ?? "" })),
    );
    return this.#contents.writeManifest(files);
  }

  /** Makes staged files the account's. */
  async #verify(
    { account, project }: Place,
    files: ReadonlyArray<StoredContent & { readonly path: string }>,
  ): Promise<void> {
    for (const some of chunksOf(files, LIMITS.pagesVerifiedAtOnce)) {
      const checked = await Promise.allSettled(some.map((file) => this.#check(file)));
      // Sent again, it may be what it is called; what could not be looked at now stays for the next look.
      const wrong = some.filter((_, index) => isRefused(checked[index]));
      await this.#unstage({ account, project }, wrong);
      const failed = checked.find((result) => result.status === "rejected");
      if (failed !== undefined) throw failed.reason;
    }
    await this.#contents.add(account, files);
    await this.#unstage({ account, project }, files);
  }

  async #check({ hash, blob, path }: StoredContent & { readonly path: string }): Promise<void> {
    const content = await this.#parts.blobs.get(blob);
    if (content === undefined) throw new Error(`blob ${blob} of a staged asset is missing`);
    const actual = await hashAsset(this.#parts.decoder, { content, path });
    requireAssetHash({ hash, actual, path });
  }

  async #unstage(
    { account, project }: Place,
    files: ReadonlyArray<{ readonly hash: AssetHash }>,
  ): Promise<void> {
    if (files.length === 0) return;
    const names = files.map(({ hash }) => stagedName(project, hash));
    await this.#parts.database
      .transaction()
      .execute((transaction) => this.#assets.removeContents(transaction, account, names));
  }
}

/** Whether the same look would fail again. */
function isRefused(checked: PromiseSettledResult<void> | undefined): boolean {
  if (checked?.status !== "rejected") return false;
  const reason: unknown = checked.reason;
  return !(reason instanceof ControlPlaneError && reason.retryable);
}

/** One after the other: each is a text, and its bytes. */
function* staging(project: WorkerName, files: PagesFiles): Iterable<SentAsset> {
  for (const { key, value, metadata } of files) {
    const contentType = withCharset(metadata.contentType);
    yield { hash: stagedName(project, key), base64: Buffer.from(value), contentType };
  }
}

/** No hash of an asset holds a slash. */
function stagedName(project: WorkerName, hash: AssetHash): string {
  return `${project}/${hash}`;
}

function requireContent(
  contents: ReadonlyMap<string, StoredContent>,
  hash: AssetHash,
): StoredContent {
  const content = contents.get(hash);
  if (content === undefined) throw new Error(`asset ${hash} was looked for and is missing`);
  return content;
}

function notUploaded(path: string | undefined, hash: AssetHash): ControlPlaneError {
  return new ControlPlaneError(
    "asset_invalid",
    `The asset '${path}' (${hash}) is in the manifest, but was not uploaded: deploy again`,
  );
}

/** For workers wrangler says so itself. */
function withCharset(contentType: string): string {
  const isText = contentType.startsWith("text/") && !contentType.includes("charset");
  return isText ? `${contentType}; charset=utf-8` : contentType;
}
