import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { BlobHash } from "../contract/index.ts";
import { LIMITS } from "../limits.ts";
import { ControlPlaneApi, MAIN_MODULE, uploadForm } from "../test-support/control-plane-api.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
import { announcementOf, assetOf, sendAssets } from "../test-support/sent-asset.ts";
import { BlobCollector } from "./blob-collector.ts";
import { blobHashOf } from "./blob-hash.ts";
import { ClaimedBlobStore } from "./claimed-blob-store.ts";
import { DirectoryBlobStore } from "./directory-blob-store.ts";

let api: ControlPlaneApi;
let stored: DirectoryBlobStore;
let collector: BlobCollector;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
  stored = new DirectoryBlobStore(join(api.directory, "blobs"));
  collector = openCollector(stored);
});
afterEach(async () => {
  await collector.close();
  await api.close();
});

function openCollector(blobs: DirectoryBlobStore): BlobCollector {
  const { database } = api.controlPlane;
  return new BlobCollector({ database, blobs, clock: api.clock, log: new RecordedLog().logger });
}

/** Two looks with more than a day between them: what had no name in both leaves. */
async function collectAfterADay() {
  await collector.collect();
  api.clock.advanceMs(LIMITS.blobUnnamedMs + 1);
  return collector.collect();
}

async function announce(content: string, worker = "site") {
  const asset = assetOf("/page.html", content);
  const path = `POST A/workers/scripts/${worker}/assets-upload-session`;
  return { asset, ...(await api.call(path, { manifest: announcementOf([asset]) })).result };
}

async function upload(content: string, worker = "site"): Promise<string | undefined> {
  const { asset, jwt } = await announce(content, worker);
  return (await sendAssets(api, { jwt, assets: [asset] })).result?.jwt;
}

const hashOf = (content: string): BlobHash => blobHashOf(Buffer.from(content));
const script = hashOf(String(MAIN_MODULE.content));

describe("blob collector: ", () => {
  test("what versions name stays: code, source maps, manifests and files, also of what does not serve", async () => {
    const jwt = await upload("page");
    const map = { name: "index.js.map", type: "application/source-map", content: "{}" };
    const form = uploadForm({ assets: { jwt } }, [MAIN_MODULE, map]);
    expect(await api.call("PUT A/workers/scripts/site", form)).toMatchObject({ success: true });
    await api.deploy("site", {});
    expect(await collectAfterADay()).toEqual({ files: 0, blobs: 0 });
    for (const content of [String(MAIN_MODULE.content), "{}", "page"]) {
      expect(await stored.has(hashOf(content)), content).toBe(true);
    }
  });

  test("what nothing names leaves a day after that was seen, and not before", async () => {
    await api.deploy("gone");
    expect(await collectAfterADay()).toEqual({ files: 0, blobs: 0 });
    await api.call("DELETE A/workers/scripts/gone");
    expect(await collector.collect()).toEqual({ files: 0, blobs: 0 });
    api.clock.advanceMs(LIMITS.blobUnnamedMs - 1);
    expect(await collector.collect()).toEqual({ files: 0, blobs: 0 });
    expect(await stored.has(script)).toBe(true);
    api.clock.advanceMs(1);
    expect(await collector.collect()).toEqual({ files: 0, blobs: 1 });
    expect(await stored.has(script)).toBe(false);
    await api.deploy("again");
    expect(await stored.has(script)).toBe(true);
  });

  test("what was stored or named again meanwhile stays", async () => {
    await api.deploy("first");
    await api.call("DELETE A/workers/scripts/first");
    await collector.collect();
    api.clock.advanceMs(LIMITS.blobUnnamedMs);
    await api.deploy("second");
    expect(await collector.collect()).toEqual({ files: 0, blobs: 0 });
    await api.call("DELETE A/workers/scripts/second");
    expect(await collector.collect()).toEqual({ files: 0, blobs: 0 });
    expect(await stored.has(script)).toBe(true);
  });

  test("a running upload keeps what it sent and what it was told is there", async () => {
    await upload("page");
    await collector.collect();
    api.clock.advanceMs(LIMITS.blobUnnamedMs);
    // The file is there: the token is one for the whole manifest.
    const { jwt, buckets } = await announce("page");
    expect(buckets).toEqual([]);
    expect(await collector.collect()).toEqual({ files: 0, blobs: 0 });
    api.clock.advanceMs(LIMITS.assetSessionMs - 1_000);
    expect(await collector.collect()).toEqual({ files: 0, blobs: 0 });
    expect(await api.deploy("site", { assets: { jwt } })).toMatchObject({ success: true });
  });

  test("files that no version and no upload uses any more leave, and can be sent again", async () => {
    await upload("page");
    // Forgotten as a file first; its content has had no name from then on.
    expect(await collectAfterADay()).toEqual({ files: 1, blobs: 0 });
    api.clock.advanceMs(LIMITS.blobUnnamedMs);
    expect(await collector.collect()).toEqual({ files: 0, blobs: 1 });
    expect((await announce("page")).buckets).toHaveLength(1);
    await api.deploy("site", { assets: { jwt: await upload("page") } });
    expect(await stored.has(hashOf("page"))).toBe(true);
  });

  test("a manifest that can't be read ends the look, and nothing is removed", async () => {
    await api.deploy("site", { assets: { jwt: await upload("page") } });
    await api.deploy("gone");
    await api.call("DELETE A/workers/scripts/gone");
    await collector.collect();
    api.clock.advanceMs(LIMITS.blobUnnamedMs);
    const [worker] = (await api.controlPlane.desiredState.snapshot()).workers;
    await stored.remove(BlobHash.parse(worker?.versions[0]?.version.assets?.manifest));
    await expect(collector.collect()).rejects.toThrow(/manifest [0-9a-f]{64} .* is missing/);
    expect(await stored.has(script)).toBe(true);
  });

  test("content that is stored while it is being removed is there afterwards", async () => {
    const content = Buffer.from("comes back");
    const hash = blobHashOf(content);
    const { database } = api.controlPlane;
    const claimed = new ClaimedBlobStore({ database, blobs: stored, clock: api.clock });
    await claimed.put(hash, content);
    let storing: Promise<void> | undefined;
    class SlowRemoval extends DirectoryBlobStore {
      override async remove(removed: BlobHash): Promise<void> {
        storing = claimed.put(hash, content);
        // Long enough for it to have stored the content before, did it not wait.
        await Promise.race([storing, super.has(hash), super.has(hash)]);
        await super.remove(removed);
      }
    }
    collector = openCollector(new SlowRemoval(join(api.directory, "blobs")));
    expect(await collectAfterADay()).toEqual({ files: 0, blobs: 1 });
    await storing;
    expect(await claimed.has(hash)).toBe(true);
  });

  test("after a removal that failed its content can't be stored until that can't happen any more", async () => {
    const content = Buffer.from("comes back");
    const hash = blobHashOf(content);
    const { database } = api.controlPlane;
    const claimed = new ClaimedBlobStore({ database, blobs: stored, clock: api.clock });
    await claimed.put(hash, content);
    let removals = 0;
    class LateRemoval extends DirectoryBlobStore {
      override remove(): Promise<void> {
        removals += 1;
        return Promise.reject(new Error("no answer, and it may still be done"));
      }
    }
    collector = openCollector(new LateRemoval(join(api.directory, "blobs")));
    await expect(collectAfterADay()).rejects.toThrow(/no answer/);
    const storing = claimed.put(hash, content);
    api.clock.advanceMs(LIMITS.blobClaimWaitMs);
    await expect(storing).rejects.toMatchObject({ code: "blobs_unavailable" });
    // Nor does another one begin at once.
    await collector.collect();
    expect(removals).toBe(1);
    api.clock.advanceMs(LIMITS.blobRemovalMs);
    await claimed.put(hash, content);
    expect(await collector.collect()).toEqual({ files: 0, blobs: 0 });
    expect(await stored.has(hash)).toBe(true);
  });

  test("blobs that it was never told of stay: an earlier version kept values of keys beside them", async () => {
    const content = Buffer.from("a value");
    await stored.put(blobHashOf(content), content);
    expect(await collectAfterADay()).toEqual({ files: 0, blobs: 0 });
    expect(await stored.has(blobHashOf(content))).toBe(true);
  });
});
