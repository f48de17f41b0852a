import type { Generated } from "kysely";

/**
 * The tables. Types are what both SQLite and PostgreSQL give back: text, numbers, and 0 or 1 for a
 * condition. Times are ISO 8601 in UTC, which sort as text; documents are JSON text that the store of
 * their resource parses.
 */
export interface Schema {
  accounts: {
    id: string;
    name: string;
    created_at: string;
    /** With `memory_mib` the contract's `AccountSettings`. */
    cells: Generated<string>;
    memory_mib: Generated<number>;
    /** With the following ones the key-value store's `KvQuota`. PostgreSQL gives 64 bits as text. */
    kv_keys_max: Generated<number | string | null>;
    kv_bytes_max: Generated<number | string | null>;
    kv_writes_per_second_max: Generated<number | string | null>;
    kv_writes_per_day_max: Generated<number | string | null>;
    /** `AccountQuota`. */
    quota: Generated<string>;
    /** The number of the latest change of one of the two: see `usage/quota-changes.ts`. */
    quota_changed: Generated<number>;
  };
  /** `token_hash` is SHA-256: the token itself is shown once and never stored. */
  api_tokens: {
    id: string;
    account_id: string;
    name: string;
    token_hash: string;
    created_at: string;
    /** One of `ROLES`. */
    role: Generated<string>;
    /** With `namespace_id` the `TokenScope`: at most one of the two is there. */
    worker: Generated<string | null>;
    namespace_id: Generated<string | null>;
    expires_at: Generated<string | null>;
    last_used_at: Generated<string | null>;
  };
  /** Numbers that only grow; a row is the lock under which the next number is taken. */
  counters: { name: string; value: number };
  /** The outbox: which worker changed at which revision of the desired state. */
  state_changes: { revision: number; account_id: string; worker: string; at: string };
  /** Who did what. Never holds the value of a secret. */
  audit: {
    id: string;
    at: string;
    account_id: string;
    token_id: string;
    /** Where the call came from. */
    address: string | null;
    action: string;
    subject: string;
    /** `Facts` as JSON, with `after`. */
    before: string | null;
    after: string | null;
    /** Order within the account. */
    sequence: number;
  };
  kv_namespaces: { id: string; account_id: string; title: string; created_at: string };
  /**
   * Namespaces that the origin may already, or still, hold without a row above. Once it is `removing`,
   * it becomes no row any more.
   */
  kv_leftovers: { namespace_id: string; state: "creating" | "removing" };
  workers: {
    id: string;
    account_id: string;
    name: string;
    created_at: string;
    modified_at: string;
    /** Whether `<name>.<base domain>` leads to it. */
    is_on_subdomain: number;
    has_previews: number;
    /** `ScriptSettings`: what belongs to the worker and not to a version. */
    settings: string;
    /** Number of the newest version. */
    version_number: number;
  };
  versions: {
    id: string;
    worker_id: string;
    number: number;
    created_at: string;
    /** The contract's `Version`. */
    document: string;
    /** `VersionNotes`: what wrangler shows of it and nodes need not know. */
    notes: string;
  };
  /** Values of a version's `secret_text` bindings, sealed under the master key. */
  version_secrets: { version_id: string; name: string; sealed: string };
  /** Keys that outlive the master key, sealed under it; see `secrets/SEALING.md`. */
  installation_keys: { name: string; sealed: string };
  /** Installations that came here from elsewhere; see `move/MOVE.md`. */
  moves: {
    /** `installationId`. */
    installation: string;
    /** Where its blobs went. */
    blob_store: string;
    started_at: string;
    /** Until then nobody may use the database. */
    finished_at: string | null;
  };
  deployments: {
    id: string;
    worker_id: string;
    /** Order within the worker: the highest is the active one. */
    number: number;
    created_at: string;
    /** `DeployedVersions`: which versions, with what percentages. */
    versions: string;
    annotations: string;
  };
  routes: {
    id: string;
    account_id: string;
    worker_id: string;
    kind: "route" | "custom_domain";
    /** `host/path`, without scheme. */
    pattern: string;
    /** `hostKey` of its host. */
    host_key: string;
    created_at: string;
  };
  /** What accounts claim to be theirs, and, with `proved_at`, what is; see `ownership/OWNERSHIP.md`. */
  domains: {
    id: string;
    account_id: string;
    /** In lower case and ASCII, without a dot at its end. */
    name: string;
    /** What its TXT record has to say. */
    token: string;
    created_at: string;
    /** When the claim ends; null once it is proved. */
    expires_at: string | null;
    proved_at: string | null;
  };
  /** When a worker is called without a request. `next_at` is the first occurrence that has no row below. */
  schedules: { id: string; worker_id: string; cron: string; created_at: string; next_at: string };
  /** One time that a schedule came to. `schedules/SCHEDULES.md` has what it goes through. */
  occurrences: {
    id: string;
    schedule_id: string;
    scheduled_at: string;
    state: "pending" | "claimed" | "ended" | "missed";
    /** While pending: not to be run before. While claimed: until when its node need not be heard of. */
    due_at: string;
    /** How often it was given to a node. */
    attempts: number;
    /** The latest one that it was given to. */
    node: string | null;
    /** The contract's `ScheduledOutcome` of the latest attempt that ended, or `nodeLost`. */
    outcome: string | null;
    wall_ms: number | null;
    ended_at: string | null;
  };
  asset_sessions: {
    id: string;
    account_id: string;
    worker: string;
    /** `AnnouncedManifest`: the paths that wrangler announced, with hash and size. */
    manifest: string;
    created_at: string;
  };
  /** Workers that are Pages projects. */
  pages_projects: {
    worker_id: string;
    production_branch: string;
    /** `Environments`. */
    environments: string;
  };
  /** Values for the next deployments of an environment, sealed under the master key. */
  pages_secrets: { worker_id: string; environment: string; name: string; sealed: string };
  /**
   * What an account uploaded, by wrangler's hash. Per account, so that knowing a hash gives no content. What Pages
   * sent and no deployment has shown to be what it is called is named `<project>/<hash>`.
   */
  asset_contents: {
    account_id: string;
    hash: string;
    blob: string;
    size: number;
    content_type: string | null;
    /** When an upload last stored it or found it stored. */
    used_at: Generated<string>;
  };
  /** Each blob of code and files that is, or may be, stored; see `blobs/BLOBS.md`. */
  code_blobs: {
    hash: string;
    /** When it was first found without a name; null while it has one, or was stored since. */
    unnamed_at: string | null;
    /** When its content began to be removed: until that is over nobody may store it. */
    removing_at: string | null;
  };
  join_tokens: { id: string; token_hash: string; expires_at: string; used_at: string | null };
  nodes: {
    name: string;
    region: string;
    credential_id: string;
    credential_hash: string;
    /** Raw X25519 key in base64. */
    sealing_key: string;
    enrolled_at: string;
    last_seen_at: string;
    /** The last batch of its usage that is in the table below. */
    usage_sequence: number;
  };
  /** The control planes that share the database, while they live. */
  control_planes: {
    /** A new one with each start. */
    id: string;
    /** Where the others reach it. */
    url: string;
    /** Grows as long as it lives: others see its death in that it does not. */
    alive: number;
  };
  /** What a control plane that shares its database with others tells of a node, while it has its connection. */
  node_statuses: {
    node: string;
    /** Which one has, or had last, the node's connection. */
    control_plane: string;
    connected: number;
    /** The last revision that the node acknowledged. */
    revision: number;
    /** Grows as long as that control plane lives: others see its death in that it does not. */
    alive: number;
    /** Grows with each change of the document. */
    written: number;
    /** `SharedDocument`: all else that is known of the node. */
    document: string;
  };
  /** What a version used on a node within an hour; see the contract's `UsageRow`. */
  usage: {
    account_id: string;
    worker: string;
    version_id: string;
    node: string;
    hour: string;
    requests: number;
    errors: number;
    wall_ms: number;
    bytes_in: number;
    bytes_out: number;
    cpu_us: number;
    subrequests: number;
    subrequest_bytes_out: number;
    subrequest_bytes_in: number;
    kv_reads: number;
    kv_writes: number;
    kv_deletes: number;
    kv_lists: number;
    memory_peak_bytes: number;
  };
  /** Of these what counts for an account's quota by day, added up over its workers. */
  usage_days: {
    account_id: string;
    day: string;
    /** Or `/client/v4` for what calls of the API used. */
    node: string;
    requests: number;
    cpu_us: number;
    kv_reads: number;
    kv_lists: number;
    /** The number of the latest change: see `usage/quota-changes.ts`. */
    changed: Generated<number>;
  };
}
