import type { KeyObject } from "node:crypto";
import {
  AssetManifest,
  BlobHash,
  modulesOf,
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
import type { NamedBlob } from "./blob-files.ts";
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

  /** Removes from this node what none of the workers needs, nor one that failed, as far as that is here. */
  async prune(
    workers: ReadonlyArray<DesiredWorker>,
    failed: ReadonlyArray<DesiredWorker>,
  ): Promise<void> {
    const [running, wanted] = [versionsOf(workers), versionsOf(failed)];
    const blobs = new Set<string>(
      [...running, ...wanted].flatMap(ownBlobs).map(({ blob }) => blob),
    );
    const manifests = new Set<BlobHash>();
    for (const manifest of manifestsOf(running)) {
      manifests.add(manifest);
      for (const { blob } of Object.values(await this.#readManifest(manifest))) blobs.add(blob);
    }
    for (const manifest of manifestsOf(wanted)) {
      manifests.add(manifest);
      // Without it there was nothing yet that would be of its files.
      const content = await this.#options.blobs.find(manifest);
      const files = content === undefined ? {} : parseManifest(content);
      for (const { blob } of Object.values(files)) blobs.add(blob);
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
      await blobs.ensure(Object.values(files));
      const path = (hash: BlobHash): string => blobs.path(hash);
      directory = await sites.materialise(assets.manifest, files, path);
    }
    const headers = sites.headers(files, assets.headers);
    return { directory, assets: headers === undefined ? assets : { ...assets, headers } };
  }

  async #readManifest(hash: BlobHash): Promise<AssetManifest> {
    return parseManifest(await this.#options.blobs.read(hash));
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

function parseManifest(content: Uint8Array): AssetManifest {
  return AssetManifest.parse(JSON.parse(Buffer.from(content).toString("utf8")));
}

function versionsOf(workers: ReadonlyArray<DesiredWorker>): ReadonlyArray<Version> {
  return workers.flatMap(({ versions }) => versions.map(({ version }) => version));
}

function manifestsOf(versions: ReadonlyArray<Version>): ReadonlyArray<BlobHash> {
  return versions.flatMap(({ assets }) => (assets === undefined ? [] : [assets.manifest]));
}

/** What a version names itself: its code, and the manifest that names its files. */
function ownBlobs({ code, assets }: Version): ReadonlyArray<NamedBlob> {
  return [...modulesOf(code), ...(assets === undefined ? [] : [{ blob: assets.manifest }])];
}
