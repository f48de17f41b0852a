import { z } from "zod";
import { DesiredWorker } from "./worker.ts";

/**
 * What names a version in a preview's host, `<label>-<worker>.<base domain>`: the first eight digits of its id,
 * or its alias.
 */
export const PreviewLabel = z
  .string()
  .regex(
    /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
    "a preview's label has 1 to 63 characters of a-z, 0-9 and '-', and starts and ends with a letter or digit",
  );
export type PreviewLabel = z.infer<typeof PreviewLabel>;

/**
 * Answer to `GET /fleet/previews`: the version that a label names, as the only one of its worker, without
 * routes. A label is the same version's for good, unless it is an alias.
 */
export const Preview = z.object({
  kind: z.literal("preview"),
  label: PreviewLabel,
  worker: DesiredWorker,
});
export type Preview = z.infer<typeof Preview>;

/** Header with the signature, in base64, of a `Preview` by the fleet's key. */
export const PREVIEW_SIGNATURE_HEADER = "x-atoll-signature";
