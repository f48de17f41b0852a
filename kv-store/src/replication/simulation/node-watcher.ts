import type { NamespaceId } from "../../names.ts";
import type { MessageToOrigin } from "../messages.ts";
import type { WriteResult } from "../pending-writes.ts";
import type { SimulatedNode } from "./simulated-node.ts";
import type { EndedRead } from "./simulated-read.ts";

/** One connection as the node sees it. */
export interface NodeLink {
  send(message: MessageToOrigin): void;
  cut(): void;
}

/** What is told of a node, to whoever checks its promises. */
export interface NodeWatcher {
  /** Something may have changed. */
  changed(node: SimulatedNode): void;
  settled(node: SimulatedNode, id: number, result: WriteResult): void;
  /** It asked for a namespace. */
  asked(node: SimulatedNode, message: MessageToOrigin & { kind: "subscribe" }): void;
  /** Somebody reads all that it shows. */
  read(node: SimulatedNode): void;
  /** While it followed, its disk found that the last change does not lead to the state of the origin. */
  damageFound(node: SimulatedNode, namespace: NamespaceId): void;
  /** Its session found something wrong with its stream. */
  repaired(node: SimulatedNode, text: string): void;
  /** A read of a key ended; without an answer the value could not be had. */
  readEnded(node: SimulatedNode, read: EndedRead): void;
  /** It ended its connection by itself. */
  cut(node: SimulatedNode, reason: string): void;
}
