import { codeTag, presentRuntime } from "../versions/presentation.ts";
import type { WorkerDetails } from "./service.ts";

type Presented = Readonly<Record<string, unknown>>;

/** A row of `GET scripts`. */
export function presentScript({ worker, latest }: WorkerDetails): Presented {
  return {
    id: worker.name,
    tag: worker.id,
    tags: worker.settings.tags ?? [],
    etag: codeTag(latest.version),
    handlers: null,
    created_on: worker.createdAt,
    modified_on: worker.modifiedAt,
    has_assets: latest.version.assets !== undefined,
    has_modules: latest.version.code.kind === "modules",
    logpush: worker.settings.logpush ?? false,
    // Anything but "wrangler" makes it ask whether to overwrite what somebody did elsewhere.
    last_deployed_from: "wrangler",
    ...presentRuntime(latest.version),
  };
}

/** What wrangler asks first: whether there is such a worker. */
export function presentService(details: WorkerDetails): Presented {
  const { worker } = details;
  const environment = {
    environment: "production",
    created_on: worker.createdAt,
    modified_on: worker.modifiedAt,
    script: presentScript(details),
  };
  return {
    id: worker.name,
    created_on: worker.createdAt,
    modified_on: worker.modifiedAt,
    default_environment: environment,
    environments: [environment],
  };
}

/** Settings of the worker and of its newest version; wrangler reads the bindings back from here. */
export function presentSettings(details: WorkerDetails): Presented {
  const { worker, latest } = details;
  return {
    bindings: latest.version.bindings,
    ...presentRuntime(latest.version),
    ...presentScriptSettings(details),
    placement: {},
    tag: worker.id,
  };
}

export function presentScriptSettings({ worker }: Pick<WorkerDetails, "worker">): Presented {
  return {
    tags: worker.settings.tags ?? [],
    logpush: worker.settings.logpush ?? false,
    observability: worker.settings.observability ?? { enabled: false },
    tail_consumers: worker.settings.tail_consumers ?? [],
  };
}
