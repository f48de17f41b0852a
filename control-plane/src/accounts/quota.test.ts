import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ControlPlaneApi, uploadForm } from "../test-support/control-plane-api.ts";
import { announcementOf, assetOf, sendAssets } from "../test-support/sent-asset.ts";
import type { AccountQuota } from "./quota.ts";

let api: ControlPlaneApi;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
});
afterEach(() => api.close());

async function grant(quota: Partial<AccountQuota>): Promise<void> {
  await api.controlPlane.accounts.configure(api.tenants.ours.account.id, { quota });
}

function upload(name: string, content: string) {
  const type = "application/javascript+module";
  return api.call(
    `PUT A/workers/scripts/${name}`,
    uploadForm({}, [{ name: "index.js", type, content }]),
  );
}

describe("quotas: ", () => {
  test("an account makes workers up to its number, and redeploys those that it has", async () => {
    await grant({ workersMax: 1 });
    expect((await api.deploy("one")).status).toBe(200);
    const refused = await api.deploy("two");
    expect(refused).toMatchObject({ status: 403, errors: [{ code: 10_037 }] });
    expect(refused.errors[0]?.message).toContain("has 1 Workers, and its quota is 1");
    expect((await api.deploy("one")).status).toBe(200);
    expect((await api.deploy("two", {}, "theirs")).status).toBe(200);
    await grant({ workersMax: null });
    expect((await api.deploy("three")).status).toBe(200);
  });

  test("of two that come at once only as many as may be are made", async () => {
    await grant({ workersMax: 1 });
    const answers = await Promise.all([api.deploy("one"), api.deploy("two")]);
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200, 403]));
  });

  test("a script has at most as many bytes, and a smaller quota leaves what is there usable", async () => {
    await grant({ scriptBytesMax: 100 });
    const refused = await upload("hello", "x".repeat(101));
    expect(refused).toMatchObject({ status: 413, errors: [{ code: 10_027 }] });
    expect(refused.errors[0]?.message).toContain("101 bytes together");
    expect((await upload("hello", "x".repeat(100))).status).toBe(200);
    await grant({ scriptBytesMax: 99 });
    const secret = { name: "S", text: "v", type: "secret_text" };
    expect((await api.call("PUT A/workers/scripts/hello/secrets", secret)).status).toBe(200);
  });

  test("as many versions are kept, and never fewer than the one that serves", async () => {
    await grant({ versionsKeptMax: 2 });
    for (let count = 0; count < 5; count += 1) await api.deploy("hello");
    expect(await api.countRows()).toMatchObject({ versions: 2, deployments: 2 });
    await api.call("POST A/workers/scripts/hello/versions", uploadForm({}));
    await api.call("POST A/workers/scripts/hello/versions", uploadForm({}));
    const [worker] = (await api.controlPlane.desiredState.snapshot()).workers;
    expect(worker?.versions[0]?.version.number).toBe(5);
  });

  test("static assets are bounded by their number and by their bytes together", async () => {
    await grant({ assetsMax: 2, assetBytesMax: 10 });
    const announce = (...sizes: ReadonlyArray<number>) =>
      api.call("POST A/workers/scripts/site/assets-upload-session", {
        manifest: Object.fromEntries(
          sizes.map((size, index) => [`/${index}`, { hash: String(index).repeat(32), size }]),
        ),
      });
    expect((await announce(5, 5)).status).toBe(200);
    const many = await announce(1, 1, 1);
    expect(many).toMatchObject({ status: 413, errors: [{ code: 10_027 }] });
    expect(many.errors[0]?.message).toContain("3 static assets, and the account's quota is 2");
    const large = await announce(5, 6);
    expect(large.errors[0]?.message).toContain("11 bytes together");
  });

  test("files that an account has count with their own sizes, whatever is announced", async () => {
    await grant({ assetBytesMax: 10 });
    const assets = [assetOf("/a.txt", "123456"), assetOf("/b.txt", "654321")];
    const path = "POST A/workers/scripts/site/assets-upload-session";
    for (const asset of assets) {
      const { result } = await api.call(path, { manifest: announcementOf([asset]) });
      await sendAssets(api, { jwt: result.jwt, assets: [asset] });
    }
    const manifest = Object.fromEntries(
      assets.map(({ path: at, hash }) => [at, { hash, size: 0 }]),
    );
    const { result } = await api.call(path, { manifest });
    const deployed = await api.call(
      "PUT A/workers/scripts/site",
      uploadForm({ assets: { jwt: result.jwt } }, []),
    );
    expect(deployed).toMatchObject({ status: 413, errors: [{ code: 10_027 }] });
    expect(deployed.errors[0]?.message).toContain("12 bytes together");
  });
});
