import { createHash } from "node:crypto";
import type { Version } from "../contract/index.ts";
import type { StoredVersion } from "./schemas.ts";

/** A version in the form that wrangler reads. Values of secrets are not in it. */
export function presentVersion({
  version,
  notes,
}: StoredVersion): Readonly<Record<string, unknown>> {
  return {
    id: version.id,
    number: version.number,
    startup_time_ms: notes.startupMs,
    metadata: {
      created_on: version.createdAt,
      modified_on: version.createdAt,
      source: "wrangler",
      author_id: notes.tokenId,
      author_email: AUTHOR,
      // Whether the worker has previews is told where its hosts are.
      has_preview: true,
    },
    annotations: notes.annotations,
    resources: {
      script: { etag: codeTag(version), handlers: null, last_deployed_from: "wrangler" },
      script_runtime: presentRuntime(version),
      bindings: version.bindings,
    },
  };
}

/** wrangler prints the author of every version and deployment; ours are tokens. */
export const AUTHOR = "api-token@atoll.invalid";

export function presentRuntime(version: Version): Readonly<Record<string, unknown>> {
  const { cpuMs, subrequests } = version.limits ?? {};
  return {
    compatibility_date: version.compatibilityDate,
    compatibility_flags: version.compatibilityFlags,
    usage_model: "standard",
    limits: {
      ...(cpuMs === undefined ? {} : { cpu_ms: cpuMs }),
      ...(subrequests === undefined ? {} : { subrequests }),
    },
  };
}

/** Equal for equal code. */
export function codeTag(version: Version): string {
  return createHash("sha256").update(JSON.stringify(version.code)).digest("hex");
}
