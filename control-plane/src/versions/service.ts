import type { Clock } from "@atoll/kv-store";
import { VersionId, type BlobHash, type WorkerName } from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import { ControlPlaneError } from "../errors.ts";
import type { Principal } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";
import type { StoredWorker } from "../workers/schemas.ts";
import { WorkerStore } from "../workers/store.ts";
import { workerNotFound, type Publisher } from "./publisher.ts";
import type { StoredVersion } from "./schemas.ts";
import type { VersionStore } from "./store.ts";
import type { UploadForm } from "./upload-form.ts";
import { draftUpload } from "./upload.ts";

/** Names a worker of the caller's. */
export interface Target {
  readonly principal: Principal;
  readonly name: WorkerName;
}

/** What stands behind an upload's completion token; `AssetsService` is one. */
export interface CompletedAssets {
  manifestOf(target: Target, token: string): Promise<BlobHash>;
}

export interface VersionsServiceParts {
  readonly database: Database;
  readonly versions: VersionStore;
  readonly publisher: Publisher;
  readonly assets: CompletedAssets;
  readonly clock: Clock;
}

/** Uploads of versions, and the versions there are. */
export class VersionsService {
  readonly #parts: VersionsServiceParts;
  readonly #workers = new WorkerStore();

  constructor(parts: VersionsServiceParts) {
    this.#parts = parts;
  }

  /** Records the upload as the worker's newest version and deploys it; makes the worker if needed. */
  async deployUpload(target: Target, form: UploadForm): Promise<StoredVersion> {
    return this.#upload(target, form, { isDeployed: true, isCreating: true });
  }

  /** Records the upload as the newest version; what serves stays. Rejected with `worker_not_found`. */
  async recordUpload(target: Target, form: UploadForm): Promise<StoredVersion> {
    return this.#upload(target, form, { isDeployed: false, isCreating: false });
  }

  /** The newest versions first. */
  async list(target: Target): Promise<ReadonlyArray<StoredVersion>> {
    const { database, versions } = this.#parts;
    const worker = await this.#worker(target);
    return versions.list(database, { workerId: worker.id, limit: LIMITS.listedVersionsMax });
  }

  /** One version; `latest` is the newest. */
  async get(target: Target, id: string): Promise<StoredVersion> {
    const worker = await this.#worker(target);
    const found = await this.#find(worker.id, id);
    if (found !== undefined) return found;
    throw versionNotFound(target.name, id);
  }

  async #find(workerId: string, id: string): Promise<StoredVersion | undefined> {
    const { database, versions } = this.#parts;
    if (id === "latest") return versions.latest(database, workerId);
    // Nothing else is looked for: PostgreSQL takes no text with NUL, and calls it a fault of the body.
    const isId = VersionId.safeParse(id).success;
    return isId ? versions.find(database, { workerId, id }) : undefined;
  }

  async #upload(
    target: Target,
    form: UploadForm,
    effect: { readonly isDeployed: boolean; readonly isCreating: boolean },
  ): Promise<StoredVersion> {
    const { publisher, assets, clock } = this.#parts;
    return publisher.publish({
      ...target,
      ...effect,
      trigger: "upload",
      draft: (base) =>
        draftUpload({
          form,
          base,
          resolveManifest: (token) => assets.manifestOf(target, token),
          nowMs: clock.nowMs(),
        }),
    });
  }

  async #worker({ principal, name }: Target): Promise<StoredWorker> {
    const address = { account: principal.account, name };
    const worker = await this.#workers.find(this.#parts.database, address);
    if (worker === undefined) throw workerNotFound(name);
    return worker;
  }
}

export function versionNotFound(worker: string, id: string): ControlPlaneError {
  return new ControlPlaneError(
    "version_not_found",
    `The worker '${worker}' has no version '${id.slice(0, 100)}'`,
  );
}
