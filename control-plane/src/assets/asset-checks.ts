import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";

/** Refuses, with `asset_invalid`, a file that is too large; `name` is what its sender knows it by. */
export function requireAssetSize(name: string, bytes: number): void {
  if (bytes <= LIMITS.assetBytesMax) return;
  throw new ControlPlaneError(
    "asset_invalid",
    `The asset ${name} has ${bytes} bytes, over the limit of ${LIMITS.assetBytesMax} (25 MiB)`,
  );
}

/** A file as it was announced. */
export interface AnnouncedAsset {
  readonly path: string;
  readonly size: number;
}

/** Refuses, with `asset_invalid`, a file that is not what it was announced as. */
export function requireAnnounced(
  sent: {
    readonly hash: string;
    readonly sizeBytes: number;
    readonly actualHash: string | undefined;
  },
  { path, size }: AnnouncedAsset,
): void {
  if (sent.sizeBytes !== size) {
    throw new ControlPlaneError(
      "asset_invalid",
      `The asset '${path}' was announced with ${size} bytes but has ${sent.sizeBytes}`,
    );
  }
  requireAssetHash({ hash: sent.hash, actual: sent.actualHash, path });
}

/** Refuses, with `asset_invalid`, content that is not what it was announced as. */
export function requireAssetHash(sent: {
  readonly hash: string;
  readonly actual: string | undefined;
  readonly path: string;
}): void {
  const { hash, actual, path } = sent;
  if (actual === hash) return;
  throw new ControlPlaneError(
    "asset_invalid",
    `The content of the asset '${path}' hashes to ${actual}, but was announced as ${hash}`,
  );
}
