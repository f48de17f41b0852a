import { z } from "zod";
import { LIMITS } from "../limits.ts";

/** wrangler's hash of an asset: half of BLAKE3 over its base64 text and its extension. */
export const AssetHash = z
  .string()
  .regex(/^[0-9a-f]{32}$/, "an asset's hash is 32 lower-case hexadecimal digits");
export type AssetHash = z.infer<typeof AssetHash>;

/**
 * A path as it is below the directory of assets, with `/` first, not URL-encoded. It becomes a file name
 * on nodes, so nothing in it may lead elsewhere, or be longer than what file systems hold.
 */
const AssetPath = z.string().superRefine((path, context) => {
  const message = faultOfPath(path);
  if (message !== undefined) context.addIssue({ code: "custom", message });
});

/** The files that wrangler announces before it uploads those that are missing. */
export const AnnouncedManifest = manifestOf(
  z.object({ hash: AssetHash, size: z.number().int().nonnegative() }),
);
export type AnnouncedManifest = z.infer<typeof AnnouncedManifest>;

/** The same as it is stored: its paths were checked, and each bucket of files reads it. */
export const StoredManifest = z.record(z.string(), z.object({ hash: AssetHash, size: z.number() }));

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

/** Files by path: not too many, and all of them at paths that a directory can have. */
export function manifestOf<File extends z.ZodType>(file: File) {
  return z
    .record(AssetPath, file)
    .refine((manifest) => Object.keys(manifest).length <= LIMITS.assetsMax, {
      error: `more than ${LIMITS.assetsMax} assets`,
    })
    .superRefine((manifest, context) => {
      const path = Object.keys(manifest).find((name) => folderAsFile(name, manifest) !== undefined);
      if (path === undefined) return;
      const message = `'${folderAsFile(path, manifest)}' is a file and the folder of '${path}'`;
      context.addIssue({ code: "custom", message });
    });
}

/** One look at a path instead of a rule after the other: there are thousands in each announcement. */
function faultOfPath(path: string): string | undefined {
  if (!path.startsWith("/")) return "an asset's path begins with '/'";
  if (/\p{Cc}/u.test(path)) return "an asset's path holds no control characters";
  if (!path.isWellFormed()) return "an asset's path is not valid Unicode";
  if (Buffer.byteLength(path) > LIMITS.assetPathBytesMax) {
    return `an asset's path has at most ${LIMITS.assetPathBytesMax} bytes`;
  }
  const names = path.slice(1).split("/");
  if (names.some((name) => name === "" || name === "." || name === "..")) {
    return "an asset's path has no empty name, '.' or '..'";
  }
  if (names.length > LIMITS.assetPathNamesMax) {
    return `an asset's path has at most ${LIMITS.assetPathNamesMax} names`;
  }
  if (names.some((name) => Buffer.byteLength(name) > LIMITS.assetNameBytesMax)) {
    return `a name in an asset's path has at most ${LIMITS.assetNameBytesMax} bytes`;
  }
  return undefined;
}

/** The folder of a path that is itself one of the files: no directory can hold both. */
function folderAsFile(
  path: string,
  manifest: Readonly<Record<string, unknown>>,
): string | undefined {
  for (let slash = path.indexOf("/", 1); slash !== -1; slash = path.indexOf("/", slash + 1)) {
    const folder = path.slice(0, slash);
    if (Object.hasOwn(manifest, folder)) return folder;
  }
  return undefined;
}
