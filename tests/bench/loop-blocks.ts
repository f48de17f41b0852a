import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import type { ControlPlane } from "@atoll/control-plane";
import {
  decodeMessage,
  encodeMessage,
  EnrolResponse,
  MessageToNode,
  rawPublicKey,
} from "@atoll/control-plane/contract";
import WebSocket from "ws";

/**
 * The longest time for which the event loop of this process, in which the control plane runs, does one thing alone
 * while a new node gets everything: in ms of CPU time, which what else the machine does makes no longer.
 */
export async function longestBlockOfJoin(
  controlPlane: ControlPlane,
  name: string,
): Promise<number> {
  const { token } = await controlPlane.nodes.issueJoinToken();
  const sealingKey = rawPublicKey(generateKeyPairSync("x25519").publicKey).toString("base64");
  const enrolled = await fetch(`${controlPlane.url}/fleet/enrol`, {
    method: "POST",
    body: JSON.stringify({ token, name, region: "fra", sealingKey }),
  });
  const { credential } = EnrolResponse.parse(await enrolled.json());
  const socket = new WebSocket(`${controlPlane.url.replace("http", "ws")}/fleet/connect`, {
    headers: { authorization: `Bearer ${credential}` },
    maxPayload: 0,
  });
  await once(socket, "open");
  const { promise, resolve } = Promise.withResolvers<number>();
  const turns = watchTurns();
  socket.on("message", (message: Buffer) => {
    // Before it is decoded: that is the node's work.
    const longestMs = turns.longestMs();
    if (decodeMessage(MessageToNode, message).kind === "state") resolve(longestMs);
  });
  socket.send(encodeMessage({ kind: "hello", revision: 0, ingressUrl: "http://127.0.0.1:9" }));
  const longestMs = await promise;
  turns.stop();
  socket.terminate();
  return longestMs;
}

/** Measures each turn of the event loop, until it is stopped. */
function watchTurns(): { readonly longestMs: () => number; readonly stop: () => void } {
  let longest = 0;
  let last = cpuMs();
  const look = (): void => {
    const now = cpuMs();
    longest = Math.max(longest, now - last);
    last = now;
    next = setImmediate(look);
  };
  let next = setImmediate(look);
  return { longestMs: () => longest, stop: () => clearImmediate(next) };
}

function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}
