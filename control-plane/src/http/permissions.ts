import type { Hono, MiddlewareHandler } from "hono";
import { ControlPlaneError } from "../errors.ts";
import { ROLES, type Role, type TokenScope } from "../tokens/schemas.ts";
import type { ApiEnvironment, Principal } from "./request-context.ts";

/**
 * What a call is about: the token itself and what every token may know, the whole account, or the worker or
 * namespace that its path names. A token of one worker or namespace reaches that, and what every token may know.
 */
type Subject = "token" | "account" | "worker" | "namespace";

/** What a route needs of a token. */
export interface Permission {
  readonly role: Role;
  readonly subject: Subject;
}

type Guard = MiddlewareHandler<ApiEnvironment>;

// By the middleware itself, so that a list of routes tells what each of them needs.
const DECLARED = new WeakMap<object, Permission>();

/** A route that every token may call. */
export const allowAnyToken: Guard = declare({ role: "viewer", subject: "token" });

/** A route about the account as a whole. */
export function allowAccount(role: Role): Guard {
  return declare({ role, subject: "account" });
}

/** A route about the worker that `:worker` of its path names. */
export function allowWorker(role: Role): Guard {
  return declare({ role, subject: "worker" });
}

/** A route about the key-value namespace that `:namespace` of its path names. */
export function allowNamespace(role: Role): Guard {
  return declare({ role, subject: "namespace" });
}

/** Whether a caller has a role, or one above it. */
export function hasRole(principal: Principal, role: Role): boolean {
  return ROLES.indexOf(principal.role) >= ROLES.indexOf(role);
}

/** What a handler of a route declares; `undefined` for one that is no declaration. */
export function permissionOf(handler: object): Permission | undefined {
  return DECLARED.get(handler);
}

/** Throws when a route declares nothing: an address that everybody may call must never come to be by forgetting. */
export function requireDeclarations(routers: ReadonlyArray<Hono<ApiEnvironment>>): void {
  const routes = routers.flatMap((router) => router.routes);
  const nameOf = (route: { readonly method: string; readonly path: string }): string =>
    `${route.method} ${route.path}`;
  const declared = new Set(routes.filter(({ handler }) => DECLARED.has(handler)).map(nameOf));
  const missing = routes.map(nameOf).find((name) => !declared.has(name));
  if (missing !== undefined) throw new Error(`the route ${missing} declares no permission`);
}

function declare(permission: Permission): Guard {
  const guard: Guard = async (context, next) => {
    const { role, scope } = context.var.principal;
    const { method } = context.req;
    if (!hasRole(context.var.principal, permission.role)) {
      throw new ControlPlaneError(
        "role_insufficient",
        `Authentication error: this ${method} needs an API token with the role ${permission.role}, and yours has the role ${role}`,
      );
    }
    const named = {
      worker: context.req.param("worker"),
      namespace: context.req.param("namespace"),
    };
    if (!reaches(scope, permission.subject, named)) {
      throw new ControlPlaneError(
        "scope_exceeded",
        `Authentication error: the API token is for ${describeScope(scope)} alone`,
      );
    }
    await next();
  };
  DECLARED.set(guard, permission);
  return guard;
}

function reaches(
  scope: TokenScope,
  subject: Subject,
  named: { readonly worker: string | undefined; readonly namespace: string | undefined },
): boolean {
  if (scope.kind === "account" || subject === "token") return true;
  if (scope.kind === "worker") return subject === "worker" && named.worker === scope.worker;
  return subject === "namespace" && named.namespace === scope.namespace;
}

function describeScope(scope: TokenScope): string {
  if (scope.kind === "worker") return `the worker '${scope.worker}'`;
  return scope.kind === "namespace" ? `the KV namespace ${scope.namespace}` : "its account";
}
