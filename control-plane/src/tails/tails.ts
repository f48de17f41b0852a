import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import type { Database } from "../database/database.ts";
import { PeerCredentials } from "../peers/peer-credentials.ts";
import type { Peers } from "../peers/peers.ts";
import { FleetTails } from "./fleet-tails.ts";
import { OpenTails, TAILS_PATH } from "./open-tails.ts";
import { RemoteFollowers } from "./remote-followers.ts";
import { REMOTE_TAILS_PATH, RemoteWatchers } from "./remote-watchers.ts";
import { TokenFollower } from "./token-follower.ts";
import { secretPrefixOf, WatcherRelay } from "./watcher-relay.ts";

export interface TailsParts {
  readonly database: Database;
  /** The other control planes; absent when there can't be any. */
  readonly peers: Peers | undefined;
  /** 32 secret bytes that all of them have. */
  readonly fleetSeed: Uint8Array;
  readonly clock: Clock;
  readonly log: Logger;
}

/** All of the control plane that has to do with tails. */
export class Tails {
  /** Those whose watchers are here. */
  readonly open: OpenTails;
  /** Those of all control planes, for the nodes that are connected here. */
  readonly fleet = new FleetTails();
  readonly #tokens: TokenFollower;
  readonly #shared: SharedTails | undefined;

  constructor({ peers, fleetSeed, ...parts }: TailsParts) {
    const secretPrefix = peers === undefined ? undefined : secretPrefixOf(peers.id);
    this.open = new OpenTails({ ...parts, secretPrefix });
    this.#tokens = new TokenFollower({ ...parts, tails: this.open });
    const link = this.open.connect({ send: (tails) => own.tell(tails) });
    const own = this.fleet.attach({ ...link, remove: (id) => this.open.remove(id) });
    link.open();
    if (peers === undefined) return;
    this.#shared = shareTails({ ...parts, peers, fleetSeed, open: this.open, fleet: this.fleet });
  }

  /** Takes over an upgrade that has to do with tails; returns whether it is one. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): boolean {
    const { url = "" } = request;
    if (this.#shared !== undefined && url === REMOTE_TAILS_PATH) {
      this.#shared.watchers.upgrade(request, socket, head);
      return true;
    }
    if (!url.startsWith(TAILS_PATH)) return false;
    const secret = url.slice(TAILS_PATH.length);
    if (this.#shared?.relay.upgrade(request, { socket, head, secret }) === true) return true;
    this.open.upgrade(request, socket, head);
    return true;
  }

  /** May be called twice. */
  async close(): Promise<void> {
    await this.#tokens.close();
    this.#shared?.followers.close();
    this.open.close();
    this.#shared?.watchers.close();
    this.#shared?.relay.close();
  }
}

interface SharedTails {
  readonly followers: RemoteFollowers;
  readonly watchers: RemoteWatchers;
  readonly relay: WatcherRelay;
}

function shareTails(
  parts: Omit<TailsParts, "peers"> & {
    readonly peers: Peers;
    readonly open: OpenTails;
    readonly fleet: FleetTails;
  },
): SharedTails {
  const { peers, fleetSeed, clock, open } = parts;
  const credentials = new PeerCredentials({ fleetSeed, id: peers.id, clock });
  return {
    followers: new RemoteFollowers({ ...parts, tails: open, credentials }),
    watchers: new RemoteWatchers({ ...parts, credentials }),
    relay: new WatcherRelay(peers),
  };
}
