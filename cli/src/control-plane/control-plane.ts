import { join, resolve } from "node:path";
import {
  createControlPlane,
  RememberedPreflight,
  type ControlPlane,
  type OwnershipRule,
} from "@atoll/control-plane";
import type { S3Blobs } from "@atoll/control-plane/s3";
import { WorkerdPreflight } from "@atoll/edge-runtime";
import { DEFAULT_HORIZON, systemClock, type LogHorizon } from "@atoll/kv-store";
import { requirePlaces } from "../database-place.ts";
import { openKvOrigin } from "../kv/open-origin.ts";
import { createLog } from "../log.ts";
import type { BucketAddress } from "../options.ts";
import { lockData } from "../processes/data-lock.ts";
import type { Running } from "../processes/serve-until-stopped.ts";
import {
  packagedNodeDirectory,
  readWranglerEnvironment,
  writeWranglerEnvironment,
} from "../wrangler-environment.ts";

export interface ControlPlaneCommandOptions {
  readonly data: string;
  readonly port: number;
  readonly baseDomain: string;
  readonly ingressPort: number;
  readonly wranglerEnv?: string;
  /** Address of a PostgreSQL database, for everything but blobs. */
  readonly database?: string;
  /** Where other control planes on it reach this one. */
  readonly peerUrl?: string;
  /** Of another one, for keys and values. */
  readonly kvDatabase?: string;
  /** Bucket for blobs, and the server that has it. */
  readonly blobStore?: BucketAddress;
  readonly s3Endpoint?: string;
  /** How much of each namespace's history is kept, in days and in MB. */
  readonly kvHistoryDays?: number;
  readonly kvHistorySize?: number;
  /** Whether routes need hosts that their account has proved, and who is asked for proofs. */
  readonly domainOwnership: OwnershipRule;
  readonly dnsResolver?: ReadonlyArray<string>;
  /** Whether the page at `/` needs no token on this machine, while there is one account. */
  readonly openConsole: boolean;
  readonly requireSandbox: boolean;
}

/** `atoll control-plane`. Resolves when it serves. Rejected, with everything closed again, when it can't. */
export async function runControlPlane(options: ControlPlaneCommandOptions): Promise<Running> {
  // What is left open would keep the process, and whoever runs it would not know that it serves nobody.
  await using opening = new AsyncDisposableStack();
  const log = createLog("control-plane");
  const dataDirectory = resolve(options.data);
  requirePlaces(dataDirectory, options);
  const lock = await lockData(dataDirectory, { kind: "control plane", mode: 0o700 });
  opening.defer(() => lock.close());
  const bucket = await openBucket(options);
  if (bucket !== undefined) opening.defer(() => bucket.close());
  const kvOrigin = await openKvOrigin({
    dataDirectory,
    url: options.kvDatabase ?? options.database,
    horizon: horizonOf(options),
    log,
  });
  opening.defer(() => kvOrigin.close());
  const preflight = await WorkerdPreflight.open({
    directory: join(dataDirectory, "preflight"),
    requireSandbox: options.requireSandbox,
    log,
  });
  opening.defer(() => preflight.dispose());
  const controlPlane = await createControlPlane({
    dataDirectory,
    databaseUrl: options.database,
    peerUrl: options.peerUrl,
    host: "127.0.0.1",
    port: options.port,
    baseDomain: options.baseDomain,
    publicIngressPort: options.ingressPort,
    ownershipRule: options.domainOwnership,
    dnsServers: options.dnsResolver,
    isFrontPageOpenHere: options.openConsole,
    environmentFile: options.wranglerEnv ?? "wrangler.env",
    masterKey: process.env["ATOLL_MASTER_KEY"],
    preflight: new RememberedPreflight(preflight),
    kvOrigin,
    ...(bucket === undefined ? {} : { openBlobs: bucket.open }),
    log,
    clock: systemClock,
  });
  opening.defer(() => controlPlane.close());
  if (options.wranglerEnv !== undefined) {
    await provideWranglerEnvironment(controlPlane, resolve(options.wranglerEnv));
  }
  log.info({ url: controlPlane.url }, "control plane serves");
  const opened = opening.move();
  return { close: () => opened.disposeAsync() };
}

/** The bucket for blobs; `undefined` when they are in the data folder. */
async function openBucket({
  blobStore,
  ...options
}: ControlPlaneCommandOptions): Promise<S3Blobs | undefined> {
  if (blobStore === undefined) return undefined;
  // Loaded only here: its client is large, and of no use to anybody else.
  const { openBlobStore } = await import("../open-blob-store.ts");
  return openBlobStore({ ...options, blobStore });
}

function horizonOf({ kvHistoryDays, kvHistorySize }: ControlPlaneCommandOptions): LogHorizon {
  return {
    ageMs: kvHistoryDays === undefined ? DEFAULT_HORIZON.ageMs : kvHistoryDays * DAY_MS,
    bytesMax: kvHistorySize === undefined ? DEFAULT_HORIZON.bytesMax : kvHistorySize * MIB,
  };
}

const DAY_MS = 24 * 60 * 60_000;
const MIB = 1024 * 1024;

/** Leaves a file whose token holds as it is; otherwise writes one with a new token. */
async function provideWranglerEnvironment(controlPlane: ControlPlane, file: string): Promise<void> {
  const baseUrl = `${controlPlane.url}/client/v4`;
  const existing = await readWranglerEnvironment(file);
  const holder =
    existing === undefined
      ? undefined
      : await controlPlane.tokens.verify(existing.CLOUDFLARE_API_TOKEN);
  if (holder !== undefined && existing?.CLOUDFLARE_API_BASE_URL === baseUrl) return;
  const { account, token } = await controlPlane.accounts.bootstrap();
  const variables = {
    CLOUDFLARE_API_BASE_URL: baseUrl,
    CLOUDFLARE_API_TOKEN: token,
    CLOUDFLARE_ACCOUNT_ID: account.id,
  };
  await writeWranglerEnvironment(file, variables, packagedNodeDirectory(process.execPath));
}
