import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  decodeMessage,
  EnrolResponse,
  isSignedState,
  openBox,
  Preview,
  PREVIEW_SIGNATURE_HEADER,
  rawPublicKey,
} from "../contract/index.ts";
import { ControlPlaneApi, uploadForm } from "../test-support/control-plane-api.ts";

const SCRIPT = "A/workers/scripts/hello";

let api: ControlPlaneApi;
let enrolment: EnrolResponse;
let sealingKey: KeyObject;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
  const { token } = await api.controlPlane.nodes.issueJoinToken();
  const keys = generateKeyPairSync("x25519");
  sealingKey = keys.privateKey;
  const response = await fetch(`${api.controlPlane.url}/fleet/enrol`, {
    method: "POST",
    body: JSON.stringify({
      token,
      name: "fra-1",
      region: "fra",
      sealingKey: rawPublicKey(keys.publicKey).toString("base64"),
    }),
  });
  enrolment = EnrolResponse.parse(await response.json());
});
afterEach(() => api.close());

/** Asks as the node does, for a worker of ours unless told otherwise. */
function ask(
  query: Readonly<Record<string, string>>,
  credential = enrolment.credential,
): Promise<Response> {
  const worker = `${api.tenants.ours.account.id}/hello`;
  const search = new URLSearchParams({ worker, ...query }).toString();
  return fetch(`${api.controlPlane.url}/fleet/previews?${search}`, {
    headers: { authorization: `Bearer ${credential}` },
  });
}

async function previewOf(label: string): Promise<Preview> {
  const response = await ask({ label });
  expect(response.status).toBe(200);
  const body = new Uint8Array(await response.arrayBuffer());
  const signature = Buffer.from(response.headers.get(PREVIEW_SIGNATURE_HEADER) ?? "", "base64");
  expect(isSignedState(enrolment.fleetKey, { body, signature })).toBe(true);
  return decodeMessage(Preview, body);
}

async function uploadVersion(annotations = {}): Promise<string> {
  const bindings = [{ type: "secret_text", name: "KEY", text: "hush" }];
  const form = uploadForm({ bindings, annotations });
  return (await api.call(`POST ${SCRIPT}/versions`, form)).result.id as string;
}

describe("previews: ", () => {
  test("a version is found by the first digits of its id, signed, its secrets sealed to the node", async () => {
    const deployed = (await api.deploy("hello")).result.deployment_id as string;
    const uploaded = await uploadVersion();
    for (const id of [deployed, uploaded]) {
      const { label, worker } = await previewOf(id.slice(0, 8));
      expect(label).toBe(id.slice(0, 8));
      expect(worker.routes).toEqual([]);
      expect(worker.versions.map(({ version }) => version.id)).toEqual([id]);
    }
    const [version] = (await previewOf(uploaded.slice(0, 8))).worker.versions;
    const box = version?.secrets ?? new Uint8Array();
    expect(Buffer.from(openBox(sealingKey, box)).toString()).toBe('{"KEY":"hush"}');
  });

  test("an alias leads to the newest version that has it", async () => {
    await api.deploy("hello");
    const first = await uploadVersion({ "workers/alias": "staging" });
    await uploadVersion({ "workers/message": '"workers/alias":"staging"' });
    expect((await previewOf("staging")).worker.versions[0]?.version.id).toBe(first);
    const second = await uploadVersion({ "workers/alias": "staging" });
    expect((await previewOf("staging")).worker.versions[0]?.version.id).toBe(second);
  });

  test("another account can't come before a preview, by a worker or by a route", async () => {
    await api.deploy("hello");
    await api.deploy("far", {}, "theirs");
    const id = (await uploadVersion({ "workers/alias": "new-login" })).slice(0, 8);
    const setRoute = (host: string) =>
      api.call(`PUT A/workers/scripts/far/routes`, [{ pattern: `${host}/login` }], "theirs");
    const before = await api.countRows();
    for (const name of [`${id}-hello`, "new-login-hello", "login-hello"]) {
      const refused = await api.deploy(name, {}, "theirs");
      expect([refused.status, refused.errors[0]?.code], name).toEqual([409, 10_020]);
      expect((await setRoute(`${name}.atoll.test`)).status, name).toBe(409);
    }
    expect(await api.countRows()).toEqual(before);
    // What is no preview's is free, and one's own previews are one's own affair.
    expect((await api.deploy("other-hello", {}, "theirs")).status).toBe(200);
    expect((await setRoute("my-hello.atoll.test")).status).toBe(200);
    expect((await api.deploy("new-login-hello")).status).toBe(200);
  });

  test("an alias that leads to another account is refused", async () => {
    await api.deploy("hello");
    for (const name of ["shop-hello", "b-hello"]) await api.deploy(name, {}, "theirs");
    const pattern = "held-hello.atoll.test/*";
    await api.call("PUT A/workers/scripts/b-hello/routes", [{ pattern }], "theirs");
    const before = await api.countRows();
    // `a-b-hello` would be the preview `a` of `b-hello`.
    for (const alias of ["shop", "held", "a-b"]) {
      const form = uploadForm({ annotations: { "workers/alias": alias } });
      const refused = await api.call(`POST ${SCRIPT}/versions`, form);
      expect([refused.status, refused.errors[0]?.code], alias).toEqual([409, 10_020]);
    }
    expect(await api.countRows()).toEqual(before);
    await uploadVersion({ "workers/alias": "free" });
  });

  test("what is no version of a worker with previews is not found", async () => {
    const id = (await api.deploy("hello")).result.deployment_id as string;
    const foreign = (await api.deploy("theirs", {}, "theirs")).result.deployment_id as string;
    const worker = `${api.tenants.theirs.account.id}/hello`;
    const queries: ReadonlyArray<Readonly<Record<string, string>>> = [
      { label: "ffffffff" },
      { label: id.slice(0, 7) },
      { label: id },
      { label: foreign.slice(0, 8) },
      { label: id.slice(0, 8), worker },
    ];
    for (const query of queries) expect((await ask(query)).status).toBe(404);
    await api.call(`POST ${SCRIPT}/subdomain`, { enabled: true, previews_enabled: false });
    expect((await ask({ label: id.slice(0, 8) })).status).toBe(404);
  });

  test("malformed questions are refused, and anybody but a node", async () => {
    await api.deploy("hello");
    const queries: ReadonlyArray<Readonly<Record<string, string>>> = [
      { label: "" },
      { label: "-x" },
      { label: "a_b" },
      { label: "%" },
      { label: "a".repeat(64) },
      { label: "x", worker: "hello" },
      // A name that no worker can have.
      { label: "x", worker: `${api.tenants.ours.account.id}/_hello` },
      { label: "x", worker: `${api.tenants.ours.account.id}/${"a".repeat(64)}` },
      { label: "x", more: "y" },
    ];
    for (const query of queries) expect((await ask(query)).status).toBe(400);
    expect((await ask({ label: "x" }, "nobody")).status).toBe(401);
    expect((await ask({ label: "x" }, api.tenants.ours.token)).status).toBe(401);
  });

  test("an alias that can be no part of a host is refused", async () => {
    await api.deploy("hello");
    for (const alias of ["Up", "a.b", "-x", "", "a".repeat(64)]) {
      const form = uploadForm({ annotations: { "workers/alias": alias } });
      const refused = await api.call(`POST ${SCRIPT}/versions`, form);
      expect([refused.status, refused.errors[0]?.message], alias).toEqual([
        400,
        expect.stringContaining("workers/alias"),
      ]);
    }
  });

  test("nodes are told which workers have previews, and of each change of that", async () => {
    await api.deploy("hello");
    const hosts = async (): Promise<unknown> => {
      const { revision, workers } = await api.controlPlane.desiredState.snapshot();
      return [revision, workers.map(({ previewHost }) => previewHost)];
    };
    expect(await hosts()).toEqual([1, ["hello.atoll.test"]]);
    const turn = (body: object) => api.call(`POST ${SCRIPT}/subdomain`, body);
    await turn({ enabled: true });
    expect(await hosts()).toEqual([1, ["hello.atoll.test"]]);
    await turn({ enabled: true, previews_enabled: false });
    expect(await hosts()).toEqual([2, [undefined]]);
    await turn({ enabled: false, previews_enabled: true });
    expect(await hosts()).toEqual([3, ["hello.atoll.test"]]);
  });
});
