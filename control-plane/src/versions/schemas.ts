import { z } from "zod";
import { BlobHash, PreviewLabel, type Version } from "../contract/index.ts";
import { LIMITS } from "../limits.ts";

/** What made a version. */
export type Trigger = "upload" | "secret";

/** What people wrote about a version or a deployment. */
export const Annotations = z.object({
  "workers/message": z.string().optional(),
  "workers/tag": z.string().optional(),
  "workers/alias": z.string().optional(),
  "workers/triggered_by": z.string().optional(),
});
export type Annotations = z.infer<typeof Annotations>;

const Text = z.string().max(LIMITS.annotationCharactersMax);

/** What a caller may write about a version. */
export const RequestedAnnotations = z.object({
  "workers/message": Text.optional(),
  "workers/tag": Text.optional(),
  "workers/alias": PreviewLabel.optional(),
});
export type RequestedAnnotations = z.infer<typeof RequestedAnnotations>;

/** A source map that came with an upload: kept for `content/v2` and for stack traces, never run. */
export const SourceMap = z.object({
  name: z.string(),
  blob: BlobHash,
  size: z.number().int().nonnegative(),
});
export type SourceMap = z.infer<typeof SourceMap>;

/** What a version is to the Pages project whose deployment it is. */
export const PagesNotes = z.object({
  environment: z.enum(["production", "preview"]),
  branch: z.string(),
  commitHash: z.string(),
  commitMessage: z.string(),
  isCommitDirty: z.boolean(),
});
export type PagesNotes = z.infer<typeof PagesNotes>;

/** What is known of a version beyond what nodes need. */
export const VersionNotes = z.object({
  annotations: Annotations,
  startupMs: z.number().nonnegative(),
  sourceMaps: z.array(SourceMap),
  /** The token that uploaded it. */
  tokenId: z.string(),
  pages: PagesNotes.optional(),
});
export type VersionNotes = z.infer<typeof VersionNotes>;

export interface StoredVersion {
  readonly version: Version;
  readonly notes: VersionNotes;
}
