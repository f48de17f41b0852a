import { mkdir, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import {
  decodeMessage,
  DesiredWorker,
  encodeMessage,
  StateRevision,
} from "@atoll/control-plane/contract";
import type { Logger } from "pino";
import { z } from "zod";
import { checkedContent, withChecksum } from "./checksummed.ts";
import { writeDurably } from "./durable-file.ts";

const FILE_NAME = "state.bin";

/** The last state that ran here: what a node serves after a restart with nobody to ask. */
export const NodeState = z.object({
  revision: StateRevision,
  /** What runs. */
  workers: z.array(DesiredWorker),
  /** What should run but does not start here: tried again with every change and every restart. */
  failed: z.array(DesiredWorker),
});
export type NodeState = z.infer<typeof NodeState>;

export const EMPTY_STATE: NodeState = { revision: StateRevision.parse(0), workers: [], failed: [] };

/**
 * Keeps one state on disk: its SHA-256, then its encoding. Secrets in it are as they came, sealed to
 * this node.
 */
export class StateStore {
  readonly #directory: string;
  readonly #log: Logger;

  constructor(options: { readonly directory: string; readonly log: Logger }) {
    this.#directory = options.directory;
    this.#log = options.log;
  }

  /** The last saved state; the empty one when there is none or what is there is damaged. */
  async load(): Promise<NodeState> {
    const path = join(this.#directory, FILE_NAME);
    const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw error;
    });
    if (bytes === undefined) return EMPTY_STATE;
    try {
      return decodeMessage(NodeState, checkedContent(bytes));
    } catch (error) {
      // Starting empty is safe: the control plane sends a snapshot to a node at revision 0. The damaged
      // file is kept for whoever wants to know what happened.
      await rename(path, `${path}.damaged`);
      this.#log.error({ err: error, path }, "saved state is damaged: starting without it");
      return EMPTY_STATE;
    }
  }

  /** Resolves when the state is on disk. */
  async save(state: NodeState): Promise<void> {
    await mkdir(this.#directory, { recursive: true });
    const content = withChecksum(encodeMessage(state));
    await writeDurably(join(this.#directory, FILE_NAME), content, { mode: 0o600 });
  }
}
