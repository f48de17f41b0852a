import type { KeyObject } from "node:crypto";
import {
  AssetManifest,
  BlobHash,
  openBox,
  SecretValues,
  type Assets,
  type DeployedVersion,
  type DesiredWorker,
  type Version,
} from "@atoll/control-plane/contract";
import type { PreparedWorker } from "../cells/prepared-worker.ts";
import { EdgeError } from "../errors.ts";
import type { BlobCache } from "./blob-cache.ts";
import { workerKey } from "./state-follower.ts";

/** Makes directories of static files; `@atoll/sites` has it. */
export interface SiteMaterialiser {
  /** The directory that holds the manifest's files, whole, if it was made before. */
  find(manifestHash: BlobHash): Promise<string | undefined>;
  /** Resolves with the directory that holds the manifest's files. Their blobs are here. */
  materialise(
    manifestHash: BlobHash,
    manifest: AssetManifest,
    blobPath: (hash: BlobHash) => string,
  ): Promise<string>;
  /**
   * The `_headers` text to serve them with, given the site's own: what workerd has to be told about the
   * files besides their content.
   */
  headers(manifest: AssetManifest, own: string | undefined): string | undefined;
  /** Removes the directories of all other manifests. */
  prune(keep: ReadonlySet<string>): Promise<void>;
}

export interface WorkerPreparerOptions {
  readonly blobs: BlobCache;
  readonly sites: SiteMaterialiser;
  /** X25519 private key that secrets for this node are sealed to. */
  readonly sealingKey: KeyObject;
}

/** Brings what a version needs onto this node: blobs, static files, the values of its secrets. */
export class WorkerPreparer {
  readonly #options: WorkerPreparerOptions;

  constructor(options: WorkerPreparerOptions) {
    this.#options = options;
  }

  /** Rejected with `blob_unavailable`, or the materialiser's error, when something can't be had. */
  async prepare(worker: DesiredWorker, deployed: DeployedVersion): Promise<PreparedWorker> {
    const { version } = deployed;
    await this.#options.blobs.ensure(ownBlobs(version));
    const site = version.assets && (await this.#prepareSite(version.assets));
    return {
      key: workerKey(worker),
      account: worker.account,
      settings: worker.settings,
      isScheduled: worker.isScheduled,
      tailConsumers: worker.tailConsumers,
      name: worker.name,
      version: site === undefined ? version : { ...version, assets: site.assets },
      secrets: this.#openSecrets(deployed),
      readBlob: (hash) => this.#options.blobs.read(BlobHash.parse(hash)),
      ...(site === undefined ? {} : { siteDirectory: site.directory }),
    };
  }

  /** Removes from this node what none of the workers needs. */
  async prune(workers: ReadonlyArray<DesiredWorker>): Promise<void> {
    const versions = workers.flatMap(({ versions }) => versions.map(({ version }) => version));
    const blobs = new Set<string>(versions.flatMap(ownBlobs));
    const manifests = new Set<string>();
    for (const { assets } of versions) {
      if (assets === undefined) continue;
      manifests.add(assets.manifest);
      for (const hash of assetBlobs(await this.#readManifest(assets.manifest))) blobs.add(hash);
    }
    await this.#options.sites.prune(manifests);
    await this.#options.blobs.prune(blobs);
  }

  async #prepareSite(
    assets: Assets,
  ): Promise<{ readonly directory: string; readonly assets: Assets }> {
    const files = await this.#readManifest(assets.manifest);
    const { blobs, sites } = this.#options;
    let directory = await sites.find(assets.manifest);
    if (directory === undefined) {
      await blobs.ensure(assetBlobs(files));
      const path = (hash: BlobHash): string => blobs.path(hash);
      directory = await sites.materialise(assets.manifest, files, path);
    }
    const headers = sites.headers(files, assets.headers);
    return { directory, assets: headers === undefined ? assets : { ...assets, headers } };
  }

  async #readManifest(hash: BlobHash): Promise<AssetManifest> {
    const content = await this.#options.blobs.read(hash);
    return AssetManifest.parse(JSON.parse(Buffer.from(content).toString("utf8")));
  }

  #openSecrets({ secrets, version }: DeployedVersion): SecretValues {
    if (secrets === undefined) return {};
    try {
      const content = openBox(this.#options.sealingKey, secrets);
      return SecretValues.parse(JSON.parse(Buffer.from(content).toString("utf8")));
    } catch (cause) {
      throw new EdgeError("secrets_unreadable", `secrets of version ${version.id} do not open`, {
        cause,
      });
    }
  }
}

/** What a version names itself: its code, and the manifest that names its files. */
function ownBlobs(version: Version): ReadonlyArray<BlobHash> {
  const { assets } = version;
  return [...codeBlobs(version), ...(assets === undefined ? [] : [assets.manifest])];
}

function codeBlobs({ code }: Version): ReadonlyArray<BlobHash> {
  switch (code.kind) {
    case "modules":
      return code.modules.map(({ blob }) => blob);
    case "service-worker":
      return [code.script, ...code.parts].map(({ blob }) => blob);
    case "none":
      return [];
  }
}

function assetBlobs(manifest: AssetManifest): ReadonlyArray<BlobHash> {
  return Object.values(manifest).map(({ blob }) => blob);
}
