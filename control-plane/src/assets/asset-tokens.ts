import { createHmac, timingSafeEqual } from "node:crypto";
import { z } from "zod";
import { AccountId, WorkerName } from "../contract/index.ts";
import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";

/** What a token of an upload says: `upload` lets files in, `completion` stands for a whole manifest. */
export const AssetClaims = z.object({
  kind: z.enum(["upload", "completion"]),
  session: z.uuid(),
  account: AccountId,
  worker: WorkerName,
});
export type AssetClaims = z.infer<typeof AssetClaims>;

const Payload = AssetClaims.extend({ exp: z.number() });
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

  /** Throws `asset_session_invalid` when the token is not ours, of another kind, or expired. */
  verify(token: string, kind: AssetClaims["kind"], nowMs: number): AssetClaims {
    const claims = this.#read(token);
    if (claims === undefined || claims.kind !== kind) {
      throw new ControlPlaneError(
        "asset_session_invalid",
        `This is not the ${kind} token of an upload of assets`,
      );
    }
    if (claims.exp * 1_000 <= nowMs) {
      throw new ControlPlaneError(
        "asset_session_invalid",
        "The upload of assets took too long: its token expired",
      );
    }
    return claims;
  }

  #read(token: string): z.infer<typeof Payload> | undefined {
    const [header, payload, signature, ...rest] = token.split(".");
    if (header !== HEADER || payload === undefined || signature === undefined || rest.length > 0) {
      return undefined;
    }
    const expected = this.#sign(`${header}.${payload}`);
    const presented = Buffer.from(signature, "base64url");
    if (presented.length !== expected.length || !timingSafeEqual(presented, expected)) {
      return undefined;
    }
    return Payload.parse(JSON.parse(Buffer.from(payload, "base64url").toString()));
  }

  #sign(signed: string): Buffer {
    return createHmac("sha256", this.#key).update(signed).digest();
  }
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}
