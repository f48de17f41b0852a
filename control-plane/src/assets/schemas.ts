import { z } from "zod";
import { LIMITS } from "../limits.ts";

/** wrangler's hash of an asset: half of BLAKE3 over its base64 text and its extension. */
export const AssetHash = z
  .string()
  .regex(/^[0-9a-f]{32}$/, "an asset's hash is 32 lower-case hexadecimal digits");
export type AssetHash = z.infer<typeof AssetHash>;

/**
 * A path as it is below the directory of assets, with `/` first, not URL-encoded. It becomes a file name
 * on nodes, so nothing in it may lead elsewhere.
 */
const AssetPath = z
  .string()
  .startsWith("/")
  .max(LIMITS.assetPathCharactersMax)
  .regex(/^[^\p{Cc}]*$/u, "an asset's path holds no control characters")
  .refine((path) => path.isWellFormed(), { error: "an asset's path is not valid Unicode" })
  .refine((path) => path.slice(1).split("/").every(isSegment), {
    error: "an asset's path has no empty segment, '.' or '..'",
  });

/** The files that wrangler announces before it uploads those that are missing. */
export const AnnouncedManifest = z
  .record(AssetPath, z.object({ hash: AssetHash, size: z.number().int().nonnegative() }))
  .refine((manifest) => Object.keys(manifest).length <= LIMITS.assetsMax, {
    error: `more than ${LIMITS.assetsMax} assets`,
  });
export type AnnouncedManifest = z.infer<typeof AnnouncedManifest>;

/** Body of `POST assets-upload-session`. */
export const AssetSessionRequest = z.object({ manifest: AnnouncedManifest });

export interface AssetSession {
  readonly id: string;
  readonly account: string;
  readonly worker: string;
  readonly manifest: AnnouncedManifest;
}

/** An asset that an account has uploaded. */
export interface AssetContent {
  readonly hash: AssetHash;
  readonly blob: string;
  readonly size: number;
  /** Absent when wrangler knew no type for the extension. */
  readonly contentType?: string;
}

function isSegment(segment: string): boolean {
  return segment !== "" && segment !== "." && segment !== "..";
}
