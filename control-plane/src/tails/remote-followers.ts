import type { Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import { WebSocket } from "ws";
import { WIRE_MESSAGE_BYTES_MAX } from "../contract/index.ts";
import { LIMITS } from "../limits.ts";
import type { PeerCredentials } from "../peers/peer-credentials.ts";
import { PeerSocket } from "../peers/peer-socket.ts";
import type { Peer, Peers } from "../peers/peers.ts";
import type { FleetTail } from "./fleet-tails.ts";
import { MessageFromFollower, type MessageFromWatchers } from "./link-messages.ts";
import type { OpenTails } from "./open-tails.ts";
import { REMOTE_TAILS_PATH } from "./remote-watchers.ts";
import type { TailLink } from "./tail-followers.ts";

interface Parts {
  readonly tails: OpenTails;
  readonly credentials: PeerCredentials;
  readonly log: Logger;
}

/**
 * Makes other control planes follow the tails that have their watchers here, as this one's own nodes do. While
 * there are none, nobody is connected to.
 */
export class RemoteFollowers {
  readonly #parts: Parts;
  readonly #peers: Peers;
  readonly #followers = new Map<string, RemoteFollower>();
  readonly #stop: () => void;

  constructor(parts: Parts & { readonly peers: Peers; readonly clock: Clock }) {
    this.#parts = parts;
    this.#peers = parts.peers;
    parts.peers.onChange(() => this.#look());
    this.#stop = parts.clock.every(LIMITS.stateLookMs, () => this.#look());
    this.#look();
  }

  /** May be called twice. */
  close(): void {
    this.#stop();
    for (const follower of this.#followers.values()) follower.close();
    this.#followers.clear();
  }

  #look(): void {
    for (const [id, follower] of this.#followers) {
      if (this.#peers.find(id) !== undefined) continue;
      follower.close();
      this.#followers.delete(id);
    }
    for (const peer of this.#peers.others) {
      const follower = this.#followers.get(peer.id) ?? new RemoteFollower(peer, this.#parts);
      this.#followers.set(peer.id, follower);
      follower.open();
    }
  }
}

/** One other control plane. */
class RemoteFollower {
  readonly #peer: Peer;
  readonly #parts: Parts;
  readonly #log: Logger;
  /** Absent between a connection that ended and the next look, so that nobody waits for it. */
  #link: TailLink | undefined;
  #socket: PeerSocket<typeof MessageFromFollower> | undefined;
  #tails: ReadonlyArray<FleetTail> = [];
  /** A control plane that can't be reached is told of once. */
  #isMissed = false;

  constructor(peer: Peer, parts: Parts) {
    this.#peer = peer;
    this.#parts = parts;
    this.#log = parts.log.child({ controlPlane: peer.url });
  }

  /** Begins, or begins again after a connection that ended. */
  open(): void {
    if (this.#link !== undefined) return;
    this.#link = this.#parts.tails.connect({ send: (tails) => this.#send(tails) });
    this.#link.open();
  }

  close(): void {
    this.#link?.close();
    this.#link = undefined;
    this.#hangUp();
  }

  #send(tails: ReadonlyArray<FleetTail>): void {
    this.#tails = tails;
    if (tails.length === 0) this.#hangUp();
    else if (this.#socket === undefined) this.#socket = this.#connect();
    else this.#tell(this.#socket);
  }

  #tell(socket: PeerSocket<typeof MessageFromFollower>): void {
    const message: MessageFromWatchers = { kind: "tails", tails: [...this.#tails] };
    socket.send(message);
  }

  #hangUp(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close();
  }

  #connect(): PeerSocket<typeof MessageFromFollower> {
    const { url, id } = this.#peer;
    const link = new WebSocket(new URL(REMOTE_TAILS_PATH, url.replace(/^http/, "ws")), {
      headers: { authorization: `Bearer ${this.#parts.credentials.issue(id)}` },
      handshakeTimeout: LIMITS.peerConnectMs,
      maxPayload: WIRE_MESSAGE_BYTES_MAX,
      perMessageDeflate: false,
    });
    const socket = new PeerSocket(link, {
      schema: MessageFromFollower,
      onMessage: (message) => this.#receive(message),
      onEnd: () => this.#lost(socket),
      log: this.#log,
    });
    link.on("error", (error) => this.#miss(error));
    link.on("open", () => {
      this.#isMissed = false;
      this.#tell(socket);
    });
    return socket;
  }

  #receive(message: MessageFromFollower): void {
    switch (message.kind) {
      case "followed":
        return this.#link?.followed(message.ids);
      case "news":
        return this.#link?.news(message.news);
      case "remove":
        return this.#parts.tails.remove(message.id);
    }
  }

  #lost(socket: PeerSocket<typeof MessageFromFollower>): void {
    if (this.#socket !== socket) return;
    this.#socket = undefined;
    this.#link?.close();
    this.#link = undefined;
  }

  #miss(error: Error): void {
    if (this.#isMissed || this.#socket === undefined) return;
    this.#isMissed = true;
    this.#log.warn(
      { err: error },
      "another control plane can't be reached where it says that it is: tails opened here do not see its nodes",
    );
  }
}
