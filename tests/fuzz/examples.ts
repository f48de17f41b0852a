/** A file as wrangler announces and uploads it: its hash is that of the base64 text and `html`. */
export const EXAMPLE_ASSET = {
  hash: "b21ba0581fdc5f20b592c79af3d230e2",
  base64: "aGVsbG8gd29ybGQ=",
  size: 11,
} as const;

const secret = (text: string) => ({ text, type: "secret_text" });

/**
 * Bodies by operation that succeed, where the values of a schema hardly ever do, because more is asked than JSON
 * Schema can say.
 */
export const EXAMPLES: Readonly<Record<string, unknown>> = {
  putAccountsAccountWorkersScriptsWorkerRoutes: [{ pattern: "fuzz.example/a*" }],
  postAccountsAccountWorkersScriptsWorkerDomainsChangeset: [{ hostname: "fuzz.example" }],
  putAccountsAccountWorkersScriptsWorkerDomainsRecords: { origins: [{ hostname: "fuzz.example" }] },
  putAccountsAccountWorkersScriptsWorkerSchedules: [{ cron: "*/5 * * * *" }],
  postAccountsAccountWorkersScriptsWorkerDeployments: {
    strategy: "percentage",
    versions: [{ version_id: "<version:0>", percentage: 100 }],
  },
  putAccountsAccountWorkersScriptsWorkerSecrets: { name: "SECRET", ...secret("new") },
  patchAccountsAccountWorkersScriptsWorkerSecretsBulk: {
    secrets: { SECRET: secret("bulk"), OTHER: secret("other") },
  },
  patchAccountsAccountWorkersWorkersWorkerVersionsLatest: { env: { SECRET: secret("latest") } },
  patchAccountsAccountWorkersScriptsWorkerSettings: {
    bindings: [{ type: "secret_text", name: "SECRET" }],
  },
  patchAccountsAccountWorkersScriptsWorkerScriptSettings: { tags: ["fuzz"], logpush: false },
  postAccountsAccountWorkersScriptsWorkerAssetsUploadSession: {
    manifest: { "/index.html": { hash: EXAMPLE_ASSET.hash, size: EXAMPLE_ASSET.size } },
  },
  postAccountsAccountPagesProjects: { name: "fuzz-pages", production_branch: "main" },
  patchAccountsAccountPagesProjectsWorker: {
    deployment_configs: {
      production: { env_vars: { SECRET: { type: "secret_text", value: "x" } } },
    },
  },
  postPagesAssetsCheckMissing: { hashes: [EXAMPLE_ASSET.hash] },
  postAccountsAccountTokens: { name: "fuzz", role: "deployer" },
  putAccountsAccountStorageKvNamespacesNamespaceBulk: [
    { key: "a", value: "1", metadata: { b: 2 } },
  ],
  postAccountsAccountStorageKvNamespacesNamespaceBulkGet: { keys: ["a", "b"], type: "json" },
  postAccountsAccountStorageKvNamespacesNamespaceRestore: {
    at: "2000-01-01T00:00:00.000Z",
    dry_run: true,
    after: null,
  },
  putAccountsAccountWorkersScriptsWorker: {
    main_module: "index.js",
    compatibility_date: "2026-06-01",
    bindings: [{ type: "plain_text", name: "TEXT", text: "fuzz" }],
    keep_bindings: ["secret_text"],
  },
  postAccountsAccountWorkersScriptsWorkerVersions: {
    main_module: "index.js",
    compatibility_date: "2026-06-01",
    annotations: { "workers/message": "fuzz" },
    keep_bindings: ["secret_text"],
  },
};
