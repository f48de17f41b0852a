/** Every bound of a site's files, with its reason. Sizes are bytes unless the name says otherwise. */
export const LIMITS = {
  /** Files of one version: Cloudflare's own limit of its larger plans. */
  filesMax: 100_000,
  /** One name between two slashes: what Linux file systems hold. */
  nameBytesMax: 255,
  /** A whole path. Linux refuses 4,096 with the directory before it; no real site comes near. */
  pathBytesMax: 2_048,
  /** Names in a path: each may be a directory to make. */
  pathNamesMax: 64,
  /** Files placed at once: enough to keep a disk busy, far from the limit of open files. */
  placedAtOnceMax: 64,
  /** Rules of one `_headers` text: workerd, as Cloudflare, reads no more. */
  headerRulesMax: 100,
} as const;
