import type { z } from "zod";
import type { ControlPlaneErrorCode } from "../errors.ts";

/** What a call sends in its body. */
export type RequestBody =
  | { readonly kind: "json"; readonly schema: z.ZodType }
  /** `multipart/form-data`: parts by name, each JSON of a schema; `files` says what all others are. */
  | {
      readonly kind: "form";
      readonly parts: Readonly<Record<string, z.ZodType>>;
      readonly files?: string;
    }
  /** Anything, as bytes of this media type. */
  | { readonly kind: "content"; readonly type: string };

/** What a call is answered with when it succeeds. */
export type OperationAnswer =
  /** In the envelope of `/client/v4`. */
  | { readonly kind: "result"; readonly schema: z.ZodType; readonly status?: number }
  /** JSON without an envelope. */
  | { readonly kind: "json"; readonly schema: z.ZodType }
  | { readonly kind: "content"; readonly type: string }
  | { readonly kind: "nothing" }
  /** The connection becomes a WebSocket. */
  | { readonly kind: "upgrade" }
  /** It never succeeds: how it fails says what was asked. */
  | { readonly kind: "refusal" };

/** Who may call, where the route declares no permission of a token. */
export type Credential = "none" | "apiToken" | "uploadToken" | "nodeCredential";

/** What the document says of a route beyond its method, path and permission. */
export interface Operation {
  /** A sentence without its full stop. */
  readonly summary: string;
  /** Calls of Atoll's own; the others are Cloudflare's, in as far as wrangler needs them. */
  readonly isOwn?: boolean;
  readonly credential?: Credential;
  readonly query?: z.ZodObject;
  readonly body?: RequestBody;
  readonly answer: OperationAnswer;
  /** How it fails in ways of its own; `commonErrors` has what it shares with calls of its kind. */
  readonly errors?: ReadonlyArray<ControlPlaneErrorCode>;
}

/** Operations by `<method> <path>`, the path as its route was written, with what it is mounted at. */
export type Operations = Readonly<Record<string, Operation>>;

export function json(schema: z.ZodType): RequestBody {
  return { kind: "json", schema };
}

export function result(schema: z.ZodType, status?: number): OperationAnswer {
  return status === undefined ? { kind: "result", schema } : { kind: "result", schema, status };
}
