import { crc32 } from "node:zlib";
import { workerNameOfKey, type VersionId, type WorkerKey } from "@atoll/control-plane/contract";
import { type TargetKey, versionTarget } from "./target-key.ts";

/** A version that gets a part of its worker's requests. */
export interface VersionShare {
  readonly id: VersionId;
  /** 0 to 100; those of a split's versions add up to 100. */
  readonly percentage: number;
}

/**
 * A worker that two versions serve, each as a target of its own, the newer version first. Every request has a
 * position: that of its client, who keeps it, or the next one of a sequence. Positions below
 * `thresholdOf` are the newer version's, so a client who has got it keeps it while its share grows.
 */
export interface Split {
  readonly worker: WorkerKey;
  readonly versions: readonly [newer: VersionShare, older: VersionShare];
}

/** Positions are below this: the finest share is a ten-thousandth of a percent. */
export const POSITIONS = 1_000_000;
/**
 * From one position of the sequence to the next. It is close to the golden section of `POSITIONS` and has no
 * divisor in common with it, so that any run of requests is spread evenly over all positions: what each
 * version got is exact to a few requests, where drawing lots would be off by a percent of 10,000.
 */
export const POSITION_STEP = 618_033;
/** By this header a client, or what stands before us, names who is to meet the same version. */
export const KEY_HEADER = "cloudflare-workers-version-key";
/** The same as a cookie: a name, or the position that its first answer gave a client. */
export const KEY_COOKIE = "Cloudflare-Workers-Version-Key";
/** `<worker>="<version>"`, separated by commas: asks for a very version of what is deployed. */
export const OVERRIDES_HEADER = "cloudflare-workers-version-overrides";

/** Where the positions of the older version begin. */
export function thresholdOf({ versions: [newer] }: Split): number {
  return Math.round((newer.percentage / 100) * POSITIONS);
}

/** The target of what is no request, and has no client: always the same for one name. */
export function targetOfName(split: Split, name: string): TargetKey {
  const [newer, older] = split.versions;
  const version = crc32(name) % POSITIONS < thresholdOf(split) ? newer : older;
  return versionTarget(split.worker, version.id);
}

/** How many of all positions are a version's. */
export function positionsOf({ versions }: Split, id: VersionId): number {
  const percentage = versions.find((version) => version.id === id)?.percentage ?? 0;
  return Math.round((percentage / 100) * POSITIONS);
}

/** Which version a request goes to, and what lets its client meet the same one again. */
export interface SplitChoice {
  readonly target: TargetKey;
  /** Value of a `set-cookie` header; absent for a client who has a key, or asked for a version. */
  readonly setCookie: string | undefined;
}

/** Chooses the versions of one split's requests. */
export class SplitChooser {
  readonly #split: Split;
  readonly #threshold: number;
  /** Requests so far that named no position. */
  #turns = 0;

  constructor(split: Split) {
    this.#split = split;
    this.#threshold = thresholdOf(split);
  }

  /** `headers` are names and values in turn, as they came. */
  choose(headers: ReadonlyArray<string>): SplitChoice {
    const { worker, versions } = this.#split;
    const asked = askedVersion(lastValue(headers, OVERRIDES_HEADER), worker);
    const override = versions.find(({ id }) => id === asked);
    if (override !== undefined) return this.#choice(override);
    const kept = keptPosition(headers);
    if (kept !== undefined) return this.#choice(this.#at(kept));
    this.#turns += 1;
    const position = (this.#turns * POSITION_STEP) % POSITIONS;
    return this.#choice(this.#at(position), cookieOf(position));
  }

  #at(position: number): VersionShare {
    const [newer, older] = this.#split.versions;
    return position < this.#threshold ? newer : older;
  }

  #choice({ id }: VersionShare, setCookie?: string): SplitChoice {
    return { target: versionTarget(this.#split.worker, id), setCookie };
  }
}

/** Lets a client keep its position until it is closed: a deployment of two versions is no lasting state. */
export function cookieOf(position: number | string): string {
  return `${KEY_COOKIE}=~${position}; Path=/; HttpOnly; SameSite=Lax`;
}

/** Of `~<position>`, which nobody but `cookieOf` writes. */
export const KEPT_POSITION = "^~[0-9]{1,6}$";
const KEPT = new RegExp(KEPT_POSITION);

function keptPosition(headers: ReadonlyArray<string>): number | undefined {
  const key = lastValue(headers, KEY_HEADER);
  if (key !== undefined && key !== "") return hashed(key);
  const cookie = lastCookie(headers, KEY_COOKIE);
  if (cookie === undefined || cookie === "") return undefined;
  return KEPT.test(cookie) ? Number(cookie.slice(1)) : hashed(cookie);
}

function hashed(key: string): number {
  // Bytes as they came: what a header holds is no text of any encoding.
  return crc32(Buffer.from(key, "latin1")) % POSITIONS;
}

/** The version that the last member for a worker names, in a dictionary of RFC 9651. */
function askedVersion(header: string | undefined, worker: WorkerKey): string | undefined {
  if (header === undefined) return undefined;
  const name = workerNameOfKey(worker);
  const members = header.split(",").map((member) => /^([^=]+)="([^"]*)"$/.exec(member.trim()));
  return members.findLast((member) => member?.[1] === name)?.[2];
}

/** Of the last line with this name, which is in lower case. */
function lastValue(headers: ReadonlyArray<string>, name: string): string | undefined {
  for (let index = headers.length - 2; index >= 0; index -= 2) {
    if (headers[index]?.toLowerCase() === name) return headers[index + 1]?.trim();
  }
  return undefined;
}

function lastCookie(headers: ReadonlyArray<string>, name: string): string | undefined {
  const pairs = lastValue(headers, "cookie")?.split(";") ?? [];
  const pair = pairs.findLast((each) => each.trim().startsWith(`${name}=`));
  return pair?.trim().slice(name.length + 1);
}
