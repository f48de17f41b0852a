/** The node. */
export { startAgent, type Agent, type AgentOptions } from "./agent.ts";
export type { IngressChoice } from "./ingress/open-ingress.ts";
export type { SiteMaterialiser } from "./sync/worker-preparer.ts";
/** The check that a version starts, for the control plane. */
export { WorkerdPreflight, type WorkerdPreflightOptions } from "./preflight/workerd-preflight.ts";
/** How a node fails, and its bounds. */
export { EDGE_ERRORS, EdgeError, type EdgeErrorCode } from "./errors.ts";
export { LIMITS } from "./limits.ts";
