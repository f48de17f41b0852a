import type { Assets } from "@atoll/control-plane/contract";

/** The JSON that workerd's `assets` service reads, with only the fields that were chosen. */
export function assetsConfig(assets: Assets): Readonly<Record<string, unknown>> {
  return {
    ...(assets.htmlHandling !== undefined && { html_handling: assets.htmlHandling }),
    ...(assets.notFoundHandling !== undefined && { not_found_handling: assets.notFoundHandling }),
    ...(assets.runWorkerFirst !== undefined && { run_worker_first: assets.runWorkerFirst }),
    ...(assets.headers !== undefined && { headers: assets.headers }),
    ...(assets.redirects !== undefined && { redirects: assets.redirects }),
  };
}
