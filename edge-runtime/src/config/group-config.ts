import { createHash } from "node:crypto";
import {
  accountOfKey,
  type SecretValues,
  type Version,
  type WorkerKey,
  type WorkerName,
} from "@atoll/control-plane/contract";
import type { NamespaceId } from "@atoll/kv-store";
import { configFile, lines, quote, struct, word, type Expression } from "./capnp-text.ts";
import { HEADERS, HEALTH_SOCKET } from "./cell-interface.ts";
import { FileTable, type EmbeddedFile } from "./file-table.ts";
import { WorkerSection } from "./worker-section.ts";

/** One worker of a group, with what its configuration is made of. */
export interface GroupMember {
  readonly key: WorkerKey;
  readonly name: WorkerName;
  readonly version: Version;
  readonly secrets: SecretValues;
  /** Whether schedules call it, which takes a socket of its own. */
  readonly isScheduled?: boolean;
  /** Workers of the account whose `tail()` hears what happens to it, as far as they are in the group. */
  readonly tailConsumers?: ReadonlyArray<WorkerName>;
  /** What its tail tells with, while somebody watches. */
  readonly tailCapability?: string;
  /** Where the version's static files are; needed when it has `assets`. */
  readonly siteDirectory?: string;
  /** The version beside it that serves the worker as well. Who calls the worker in this cell calls both. */
  readonly other?: OtherVersion;
}

interface OtherVersion {
  readonly member: GroupMember;
  /** Positions that are its own, of those that requests have; see `Split`. */
  readonly share: number;
}

/**
 * Answers what opens a namespace for a version of a worker: a text that the node's KV server accepts and
 * that no one can guess. The same arguments must give the same text, or configs are compiled anew.
 */
export type KvCapability = (
  member: Pick<GroupMember, "key" | "version">,
  namespace: NamespaceId,
) => string;

/** The source of a cell's config, and what a cell needs to run it. */
export interface GroupConfig {
  /** SHA-256 over all that the compiled config is made of, secrets included. */
  readonly hash: string;
  /** The capnp text. It holds secrets in the clear. */
  readonly text: string;
  readonly files: ReadonlyArray<EmbeddedFile>;
  /** The socket of each worker. */
  readonly workerSockets: ReadonlyMap<WorkerKey, string>;
  /** The socket over which each scheduled worker's `scheduled()` is called. */
  readonly triggerSockets: ReadonlyMap<WorkerKey, string>;
  /** Directories of static files, as `CellSpec.sites` takes them. */
  readonly sites: ReadonlyArray<string>;
}

/**
 * Makes the config of one cell. Members may come in any order: the same group gives the same text.
 * Throws `config_invalid` when a version names what it or the group does not have.
 */
export function configureGroup(
  members: ReadonlyArray<GroupMember>,
  kvCapability: KvCapability,
): GroupConfig {
  const group = members.toSorted((a, b) => (a.key < b.key ? -1 : 1));
  const files = new FileTable();
  const sites: string[] = [];
  const others = calledOthers(group);
  const sections = [...group, ...others].map(
    (member, index) =>
      new WorkerSection({ member, index, group, others, files, sites, kvCapability }),
  );
  // Requests from outside reach the other versions in cells of their own.
  const reached = sections.slice(0, group.length);
  const services = sections.flatMap((section) => section.services());
  const triggers = reached.flatMap(({ key, trigger }) =>
    trigger === undefined ? [] : [[key, trigger] as const],
  );
  const text = configFile(
    struct({
      services: lines([...services, ...SHARED_SERVICES]),
      sockets: lines([
        ...reached.map((section) => workerSocket(section.name)),
        ...triggers.map(([, trigger]) => plainSocket(trigger)),
        HEALTH,
      ]),
      // One JSON line per message, so that a message with line breaks stays one message.
      logging: struct({ structuredLogging: word("true") }),
    }),
  );
  return {
    hash: hashOf(text, files.all),
    text,
    files: files.all,
    workerSockets: new Map(reached.map((section) => [section.key, section.name])),
    triggerSockets: new Map(triggers),
    sites,
  };
}

/** The other versions of workers that are called by somebody in the group. */
function calledOthers(group: ReadonlyArray<GroupMember>): ReadonlyArray<GroupMember> {
  const callers = [...group, ...group.flatMap(({ other }) => other?.member ?? [])];
  const called = new Set(
    callers.flatMap(({ key, version }) =>
      version.bindings.flatMap((binding) =>
        binding.type === "service" ? [`${accountOfKey(key)}/${binding.service}`] : [],
      ),
    ),
  );
  return group.flatMap(({ key, other }) =>
    other !== undefined && called.has(key) ? [{ ...other.member, isScheduled: false }] : [],
  );
}

const SHARED_SERVICES: ReadonlyArray<Expression> = [
  // The default `internet` would read every CA file at start, and lead past the node's rules.
  struct({
    name: quote("internet"),
    external: struct({
      address: quote("unix:egress.sock"),
      http: struct({ style: word("proxy") }),
    }),
  }),
  struct({
    name: quote("cache"),
    external: struct({ address: quote("unix:cache.sock"), http: struct({}) }),
  }),
  struct({ name: quote(HEALTH_SOCKET), disk: struct({ path: quote("health") }) }),
];

const HEALTH = plainSocket(HEALTH_SOCKET);

/** A socket for the node alone. */
function plainSocket(name: string): Expression {
  return struct({
    name: quote(name),
    address: quote(`unix:${name}.sock`),
    http: struct({}),
    service: quote(name),
  });
}

function workerSocket(name: string): Expression {
  return struct({
    name: quote(name),
    address: quote(`unix:${name}.sock`),
    http: struct({
      cfBlobHeader: quote(HEADERS.cf),
      forwardedProtoHeader: quote(HEADERS.protocol),
    }),
    service: quote(name),
  });
}

function hashOf(text: string, files: ReadonlyArray<EmbeddedFile>): string {
  const hash = createHash("sha256").update(text);
  for (const { file, blob } of files) hash.update(`\0${file}\0${blob}`);
  return hash.digest("hex");
}
