import { AssetHasher } from "./asset-hash.ts";
import { answerOf, type ControlPlaneApi } from "./control-plane-api.ts";

const hasher = await AssetHasher.open();

export function assetHashOf(path: string, content: string): string {
  return hasher.hashOf(Buffer.from(Buffer.from(content).toString("base64")), path);
}

/** A file of a worker, and what wrangler calls it. */
export interface SentAsset {
  readonly path: string;
  readonly content: string;
  readonly type: string;
  readonly hash: string;
}

export function assetOf(path: string, content: string, type = "text/html"): SentAsset {
  return { path, content, type, hash: assetHashOf(path, content) };
}

export function announcementOf(assets: ReadonlyArray<SentAsset>) {
  return Object.fromEntries(
    assets.map(({ path, hash, content }) => [path, { hash, size: Buffer.byteLength(content) }]),
  );
}

/** One bucket, as wrangler sends it. */
export async function sendAssets(
  api: ControlPlaneApi,
  upload: {
    readonly jwt: string;
    readonly assets: ReadonlyArray<SentAsset>;
    /** By default that of our account. */
    readonly path?: string;
  },
) {
  const { jwt, assets, path = "A/workers/assets/upload" } = upload;
  const form = new FormData();
  for (const { hash, content, type } of assets) {
    form.append(hash, new File([Buffer.from(content).toString("base64")], hash, { type }));
  }
  const headers = { authorization: `Bearer ${jwt}` };
  const response = await api.fetch(`${path}?base64=true`, { method: "POST", body: form, headers });
  return { ...(await answerOf(response)), retryAfter: response.headers.get("retry-after") };
}
