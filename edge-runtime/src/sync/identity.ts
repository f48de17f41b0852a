import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  type KeyObject,
} from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  EnrolResponse,
  NodeName,
  rawPublicKey,
  Region,
  type EnrolRequest,
} from "@atoll/control-plane/contract";
import { z } from "zod";
import { EdgeError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { ControlPlanes } from "./control-planes.ts";
import { writeDurably } from "./durable-file.ts";

const FILE_NAME = "identity.json";

const StoredIdentity = z.object({
  name: NodeName,
  region: Region,
  /** Bearer credential towards the control plane. */
  credential: z.string(),
  /** Ed25519 public key (PEM) whose signature makes a desired state ours. */
  fleetKey: z.string(),
  /** X25519 private key (PEM): secrets reach this node sealed to its public half. */
  sealingKey: z.string(),
  /** 32 random bytes in base64 that never leave the node: from them come capabilities and cache keys. */
  nodeKey: z.base64(),
});

/** Who this node is in its fleet, as it was agreed at enrolment and is kept on its disk. */
export interface NodeIdentity {
  readonly name: NodeName;
  readonly region: Region;
  readonly credential: string;
  readonly fleetKey: string;
  readonly sealingKey: KeyObject;
  readonly nodeKey: Buffer;
}

export interface EnrolOptions {
  readonly dataDirectory: string;
  readonly controlPlanes: ControlPlanes;
  /** Needed when the node has no identity yet; used once. */
  readonly joinToken?: string | undefined;
  readonly name: NodeName;
  readonly region: Region;
}

/**
 * The node's identity: from its disk, or by enrolling with the join token. Rejected with
 * `not_enrolled` when there is neither, or when the control plane refuses or does not answer.
 */
export async function loadOrEnrol(options: EnrolOptions): Promise<NodeIdentity> {
  const stored = await loadIdentity(options.dataDirectory);
  if (stored !== undefined) return openIdentity(stored);
  if (options.joinToken === undefined) {
    throw new EdgeError(
      "not_enrolled",
      `${options.dataDirectory} holds no identity of a node: join the fleet with --join TOKEN (made by 'atoll join-token' where the control plane runs)`,
    );
  }
  const identity = await enrol({ ...options, joinToken: options.joinToken });
  await mkdir(options.dataDirectory, { recursive: true });
  const file = join(options.dataDirectory, FILE_NAME);
  await writeDurably(file, JSON.stringify(identity, null, 2), { mode: 0o600 });
  return openIdentity(identity);
}

async function loadIdentity(
  dataDirectory: string,
): Promise<z.infer<typeof StoredIdentity> | undefined> {
  const file = join(dataDirectory, FILE_NAME);
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  try {
    return StoredIdentity.parse(JSON.parse(text));
  } catch (cause) {
    throw new EdgeError(
      "not_enrolled",
      `${file} is not a node's identity: restore it from a backup, or remove it and join again with --join TOKEN`,
      { cause },
    );
  }
}

async function enrol(
  options: EnrolOptions & { readonly joinToken: string },
): Promise<z.infer<typeof StoredIdentity>> {
  const pair = generateKeyPairSync("x25519");
  const request: EnrolRequest = {
    token: options.joinToken,
    name: options.name,
    region: options.region,
    sealingKey: rawPublicKey(pair.publicKey).toString("base64"),
  };
  const response = await postEnrolment(options.controlPlanes, request);
  return {
    name: options.name,
    region: options.region,
    credential: response.credential,
    fleetKey: response.fleetKey,
    sealingKey: pair.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    nodeKey: randomBytes(32).toString("base64"),
  };
}

async function postEnrolment(
  controlPlanes: ControlPlanes,
  body: EnrolRequest,
): Promise<EnrolResponse> {
  const { url, response } = await controlPlanes.call(async (base) => {
    const enrolment = `${base}/fleet/enrol`;
    const answer = await fetch(enrolment, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(LIMITS.controlPlaneCallMs),
    }).catch((cause: unknown) => {
      const message = `No control plane answers at ${base}, which the node needs to join the fleet`;
      throw new EdgeError("not_enrolled", message, { cause });
    });
    return { url: enrolment, response: answer };
  });
  if (!response.ok) {
    const answer = (await response.text()).slice(0, 500);
    throw new EdgeError("not_enrolled", `${url} refused to enrol ${body.name}: ${answer}`);
  }
  return EnrolResponse.parse(await response.json());
}

function openIdentity(stored: z.infer<typeof StoredIdentity>): NodeIdentity {
  const sealingKey = createPrivateKey(stored.sealingKey);
  // Fails here, at start, rather than at the first secret when the file was edited by hand.
  createPublicKey(stored.fleetKey);
  return { ...stored, sealingKey, nodeKey: Buffer.from(stored.nodeKey, "base64") };
}
