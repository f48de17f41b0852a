import { ManualClock } from "@atoll/kv-store/manual-clock";
import pino from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";
import { OpenTails } from "./open-tails.ts";
import { TokenFollower } from "./token-follower.ts";

const log = pino({ level: "silent" });

let api: ControlPlaneApi;
let clock: ManualClock;
let tails: OpenTails;
let follower: TokenFollower;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
  clock = new ManualClock(api.clock.nowMs());
  tails = new OpenTails({ clock, log });
  follower = new TokenFollower({ database: api.controlPlane.database, tails, clock, log });
});
afterEach(async () => {
  await follower.close();
  tails.close();
  await api.close();
});

/** Opens a tail of a worker with a new token; resolves with the token's id. */
async function open(worker: string, expiresAt?: string): Promise<string> {
  const grant = { name: worker, role: "deployer", expires_at: expiresAt };
  const { result } = await api.call("POST A/tokens", grant);
  const { account } = api.principal();
  tails.open({ tokenId: result.id, worker: `${account}/${worker}`, filters: [] });
  return result.id;
}

function openTails(): ReadonlyArray<string> {
  const { account } = api.principal();
  return ["kept", "ended"].filter((name) => tails.listOf(`${account}/${name}`).length > 0);
}

test("tails: those of a token that is revoked end at the next look, and no others", async () => {
  await open("kept");
  const id = await open("ended");
  clock.advance(LIMITS.tailTokenLookMs);
  await follower.close();
  expect(openTails()).toEqual(["kept", "ended"]);
  follower = new TokenFollower({ database: api.controlPlane.database, tails, clock, log });
  expect((await api.call(`DELETE A/tokens/${id}`)).status).toBe(200);
  clock.advance(LIMITS.tailTokenLookMs);
  await expect.poll(openTails).toEqual(["kept"]);
});

test("tails: those of a token that expires end at the next look", async () => {
  const lookAtMs = clock.nowMs() + LIMITS.tailTokenLookMs;
  await open("kept", new Date(lookAtMs + 1).toISOString());
  await open("ended", new Date(lookAtMs).toISOString());
  clock.advance(LIMITS.tailTokenLookMs);
  await expect.poll(openTails).toEqual(["kept"]);
});

test("tails: while the database is gone they go on", async () => {
  await open("kept");
  await api.controlPlane.database.schema.dropTable("api_tokens").execute();
  clock.advance(LIMITS.tailTokenLookMs);
  await follower.close();
  expect(openTails()).toEqual(["kept"]);
});
