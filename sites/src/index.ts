/** The static files of versions, as directories that workerd serves. */
export { SiteDirectories, type BlobPath, type SiteLog } from "./site-directories.ts";
export { checkAssetPaths } from "./asset-paths.ts";
/** What can go wrong with them, and their bounds. */
export { SITE_ERRORS, SiteError, type SiteErrorCode } from "./errors.ts";
export { LIMITS } from "./limits.ts";
