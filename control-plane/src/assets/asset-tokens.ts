import { createHmac, timingSafeEqual } from "node:crypto";
import { z } from "zod";
import { AccountId, WorkerName } from "../contract/index.ts";
import { ControlPlaneError, type ControlPlaneErrorCode } from "../errors.ts";
import { LIMITS } from "../limits.ts";

const Session = z.object({ session: z.uuid(), account: AccountId, worker: WorkerName });

/**
 * What a token of an upload says: `upload` lets files of a session in, `completion` stands for its whole manifest,
 * and `pages` lets files of a Pages project in.
 */
export const AssetClaims = z.discriminatedUnion("kind", [
  Session.extend({ kind: z.literal("upload") }),
  Session.extend({ kind: z.literal("completion") }),
  z.object({
    kind: z.literal("pages"),
    account: AccountId,
    worker: WorkerName,
    /** wrangler refuses more files by itself. */
    max_file_count_allowed: z.number().int().nonnegative(),
  }),
]);
export type AssetClaims = z.infer<typeof AssetClaims>;
export type ClaimsOf<Kind extends AssetClaims["kind"]> = Extract<AssetClaims, { kind: Kind }>;

const Expiry = z.object({ exp: z.number() });

// wrangler asks for a new token of Pages by itself when its code says so.
const REFUSALS = {
  upload: "asset_session_invalid",
  completion: "asset_session_invalid",
  pages: "pages_token_invalid",
} as const satisfies Record<AssetClaims["kind"], ControlPlaneErrorCode>;
const HEADER = encode({ alg: "HS256", typ: "JWT" });

/** Signs and checks the tokens of uploads, in the shape of JWTs because wrangler reads their `exp`. */
export class AssetTokens {
  readonly #key: Uint8Array;

  /** `key` is 32 bytes that nobody else knows. */
  constructor(key: Uint8Array) {
    this.#key = key;
  }

  /** A token that holds for `LIMITS.assetSessionMs` from `nowMs`. */
  issue(claims: AssetClaims, nowMs: number): string {
    const exp = Math.floor((nowMs + LIMITS.assetSessionMs) / 1_000);
    const signed = `${HEADER}.${encode({ ...claims, exp })}`;
    return `${signed}.${this.#sign(signed).toString("base64url")}`;
  }

  /** Throws the refusal of its kind when the token is not ours, of another kind, or expired. */
  verify<Kind extends AssetClaims["kind"]>(
    token: string,
    kind: Kind,
    nowMs: number,
  ): ClaimsOf<Kind> {
    const read = this.#read(token);
    if (read === undefined || !isOf(read.claims, kind)) {
      throw new ControlPlaneError(
        REFUSALS[kind],
        `This is not the ${kind} token of an upload of assets`,
      );
    }
    if (read.expiresAtMs <= nowMs) {
      throw new ControlPlaneError(
        REFUSALS[kind],
        "The upload of assets took too long: its token expired",
      );
    }
    return read.claims;
  }

  #read(token: string): { readonly claims: AssetClaims; readonly expiresAtMs: number } | undefined {
    const [header, payload, signature, ...rest] = token.split(".");
    if (header !== HEADER || payload === undefined || signature === undefined || rest.length > 0) {
      return undefined;
    }
    const expected = this.#sign(`${header}.${payload}`);
    const presented = Buffer.from(signature, "base64url");
    if (presented.length !== expected.length || !timingSafeEqual(presented, expected)) {
      return undefined;
    }
    const json: unknown = JSON.parse(Buffer.from(payload, "base64url").toString());
    const { exp } = Expiry.parse(json);
    return { claims: AssetClaims.parse(json), expiresAtMs: exp * 1_000 };
  }

  #sign(signed: string): Buffer {
    return createHmac("sha256", this.#key).update(signed).digest();
  }
}

function isOf<Kind extends AssetClaims["kind"]>(
  claims: AssetClaims,
  kind: Kind,
): claims is ClaimsOf<Kind> {
  return claims.kind === kind;
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}
