import { z } from "zod";
import { Binding, VersionId } from "../contract/index.ts";
import { DeployedVersions } from "../deployments/schemas.ts";
import { Annotations } from "../versions/schemas.ts";
import { ScriptSettings } from "../workers/schemas.ts";

// What the functions named `present…` make. The fuzzing tests compare each answer with these.

const Runtime = z.object({
  compatibility_date: z.string(),
  compatibility_flags: z.array(z.string()),
  usage_model: z.literal("standard"),
  limits: z.object({ cpu_ms: z.int().optional(), subrequests: z.int().optional() }),
});

export const NamedThing = z.object({ id: z.string(), name: z.string() });

export const Script = Runtime.extend({
  id: z.string(),
  tag: z.string(),
  tags: z.array(z.string()),
  etag: z.string(),
  handlers: z.null(),
  created_on: z.string(),
  modified_on: z.string(),
  has_assets: z.boolean(),
  has_modules: z.boolean(),
  logpush: z.boolean(),
  last_deployed_from: z.string(),
});

const Environment = z.object({
  environment: z.literal("production"),
  created_on: z.string(),
  modified_on: z.string(),
  script: Script,
});

export const Service = z.object({
  id: z.string(),
  created_on: z.string(),
  modified_on: z.string(),
  default_environment: Environment,
  environments: z.array(Environment),
});

export const PresentedSettings = ScriptSettings.required({ tags: true, logpush: true });

export const Settings = PresentedSettings.extend({
  ...Runtime.shape,
  bindings: z.array(Binding),
  placement: z.object({}),
  tag: z.string(),
});

const Reference = z.object({
  name: z.string(),
  service: z.string(),
  environment: z.literal("production"),
});

export const References = z.object({
  services: z.object({
    incoming: z.array(Reference),
    outgoing: z.array(Reference),
    pages_function: z.boolean(),
  }),
  durable_objects: z.array(z.unknown()),
  dispatch_outbounds: z.array(z.unknown()),
});

const Consumer = z.object({ service: z.string(), environment: z.literal("production") });
export const TailPairs = z.array(z.object({ consumer: Consumer, producer: Consumer }));

export const Deployed = z.object({
  id: z.string(),
  etag: z.string(),
  handlers: z.null(),
  created_on: z.string(),
  modified_on: z.string(),
  startup_time_ms: z.number(),
  /** Id of the version that was made. */
  deployment_id: VersionId,
});

export const PresentedVersion = z.object({
  id: VersionId,
  number: z.int(),
  startup_time_ms: z.number(),
  metadata: z.object({
    created_on: z.string(),
    modified_on: z.string(),
    source: z.string(),
    author_id: z.string(),
    author_email: z.string(),
    has_preview: z.boolean(),
  }),
  annotations: Annotations,
  resources: z.object({
    script: z.object({ etag: z.string(), handlers: z.null(), last_deployed_from: z.string() }),
    script_runtime: Runtime,
    bindings: z.array(Binding),
  }),
});

export const PresentedDeployment = z.object({
  id: z.string(),
  source: z.string(),
  strategy: z.literal("percentage"),
  author_email: z.string(),
  created_on: z.string(),
  annotations: Annotations,
  versions: DeployedVersions,
});

export const PresentedSecret = z.object({ name: z.string(), type: z.literal("secret_text") });

export const Domain = z.object({
  id: z.string(),
  hostname: z.string(),
  service: z.string(),
  environment: z.string(),
});

export const DomainChangeset = z.object({
  added: z.array(z.object({ hostname: z.string() })),
  removed: z.array(Domain),
  updated: z.array(Domain.extend({ modified: z.boolean() })),
  conflicting: z.array(Domain),
});

export const PresentedSchedules = z.object({
  schedules: z.array(
    z.object({ cron: z.string(), created_on: z.string(), modified_on: z.string() }),
  ),
});

export const PresentedTail = z.object({ id: z.string(), expires_at: z.string() });

export const Zone = z.object({
  id: z.string(),
  name: z.string(),
  status: z.string(),
  account: z.object({ id: z.string() }),
});

export const PresentedNamespace = z.object({
  id: z.string(),
  title: z.string(),
  supports_url_encoding: z.boolean(),
});

export const PresentedKey = z.object({
  name: z.string(),
  /** Seconds since the epoch. */
  expiration: z.int().optional(),
  metadata: z.json().optional(),
});

export const BulkOutcome = z.object({
  successful_key_count: z.int(),
  unsuccessful_keys: z.array(z.string()),
});
