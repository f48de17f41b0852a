import { generateKeyPairSync } from "node:crypto";
import { encodeMessage, rawPublicKey, signState, fleetKeyFromSeed, decodeMessage, StateChange } from "@atoll/control-plane/contract";
import { startFullControlPlane } from "./full-control-plane.ts";
import { monitorEventLoopDelay } from "node:perf_hooks";
const stack = new AsyncDisposableStack();
const engine = (process.argv[2] ?? "SQLite") as "SQLite";
const full = await startFullControlPlane(stack, engine);
console.log("filled");
const cp = full.controlPlane;
async function measure<T>(name: string, f: () => Promise<T>): Promise<T> {
  const h = monitorEventLoopDelay({ resolution: 1 }); h.enable();
  await new Promise(r => setTimeout(r, 50));
  h.reset();
  const t = performance.now();
  const r = await f();
  const took = performance.now() - t;
  await new Promise(r => setTimeout(r, 20));
  h.disable();
  console.log(name, "took", took.toFixed(0), "longest block", (h.max/1e6).toFixed(0));
  return r;
}
for (let i=0;i<3;i++) {
  const snap = await measure("snapshot()", () => cp.desiredState.snapshot());
  console.log(snap.workers.length);
  const key = fleetKeyFromSeed(new Uint8Array(32));
  const body = await measure("encode", async () => encodeMessage({kind:"snapshot", revision: snap.revision, workers: snap.workers.map(({...w}) => ({...w, versions: w.versions.map(({secrets, ...v}) => v)}))}));
  console.log("bytes", body.length);
  const sig = await measure("sign", async () => signState(key, body));
  await measure("encode outer", async () => encodeMessage({kind:"state", body, signature: sig}));
  await measure("decode (node)", async () => decodeMessage(StateChange, body));
}
await stack.disposeAsync();
