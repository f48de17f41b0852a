import type { Assets } from "@atoll/control-plane/contract";

/** The JSON that workerd's `assets` service reads, with only the fields that were chosen. */
export function assetsConfig(assets: Assets): Readonly<Record<string, unknown>> {
  // The gate behind the router decides about every path.
  const runWorkerFirst = assets.routes === undefined ? assets.runWorkerFirst : true;
  return {
    ...(assets.htmlHandling !== undefined && { html_handling: assets.htmlHandling }),
    ...(assets.notFoundHandling !== undefined && { not_found_handling: assets.notFoundHandling }),
    ...(runWorkerFirst !== undefined && { run_worker_first: runWorkerFirst }),
    ...(assets.headers !== undefined && { headers: assets.headers }),
    ...(assets.redirects !== undefined && { redirects: assets.redirects }),
  };
}
