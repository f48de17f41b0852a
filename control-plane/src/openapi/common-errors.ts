import type { ControlPlaneErrorCode } from "../errors.ts";
import type { Permission } from "../http/permissions.ts";
import type { Operation } from "./operation.ts";

/** How a call fails in ways that it shares with all of its kind: for who calls, and what it names and sends. */
export function commonErrors(call: {
  readonly path: string;
  readonly permission: Permission | undefined;
  readonly operation: Operation;
}): ReadonlyArray<ControlPlaneErrorCode> {
  const { path, permission, operation } = call;
  const { credential = "apiToken" } = operation;
  if (operation.answer.kind === "upgrade") return [];
  return [
    ...(credential === "none" ? [] : (["unauthenticated"] as const)),
    ...(credential === "apiToken" ? (["token_unknown"] as const) : []),
    ...(credential === "apiToken" && path.includes(":account")
      ? (["account_forbidden"] as const)
      : []),
    ...(permission === undefined ? [] : permissionErrors(permission)),
    ...(path.startsWith("/client/v4") ? (["rate_limited"] as const) : []),
    ...(path.includes(":worker") ? (["invalid_worker_name"] as const) : []),
    ...(path.includes(":namespace")
      ? (["namespace_id_invalid", "namespace_not_listed"] as const)
      : []),
    ...(operation.query === undefined ? [] : (["invalid_body"] as const)),
    ...(operation.body === undefined ? [] : (["invalid_body", "body_too_large"] as const)),
    "database_unavailable",
    "internal",
  ];
}

function permissionErrors({ role, subject }: Permission): ReadonlyArray<ControlPlaneErrorCode> {
  return [
    ...(role === "viewer" ? [] : (["role_insufficient"] as const)),
    ...(subject === "token" ? [] : (["scope_exceeded"] as const)),
  ];
}
