// The thread of `AssetDecoder`, in plain JavaScript: to take types out of its source, it would need 20 MB more.
import { hash } from "node:crypto";
import { extname } from "node:path/posix";
import { parentPort } from "node:worker_threads";
import { createBLAKE3 } from "hash-wasm";

const blake3 = await createBLAKE3();

// Messages wait until somebody listens.
parentPort.on("message", (job) => parentPort.postMessage(answerTo(job)));

function answerTo({ memory, assets }) {
  try {
    return { kind: "done", result: assets.map((asset) => decode(Buffer.from(memory), asset)) };
  } catch (error) {
    return { kind: "failed", error };
  }
}

function decode(memory, { startByte, endByte, path }) {
  const text = memory.subarray(startByte, endByte);
  const assetHash = path === undefined ? undefined : assetHashOf(text, path);
  // Content is never longer than its text, of which the string is a copy.
  const sizeBytes = text.write(text.toString("latin1"), "base64");
  return { sizeBytes, blob: hash("sha256", text.subarray(0, sizeBytes), "hex"), hash: assetHash };
}

/**
 * The first half of BLAKE3 over the content's base64 text and the extension of its path: equal content under another
 * extension has another hash. Of the text as it travels: to encode the content anew would take longer.
 */
function assetHashOf(text, path) {
  return blake3.init().update(text).update(extname(path).slice(1)).digest("hex").slice(0, 32);
}
