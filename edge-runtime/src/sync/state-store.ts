import { join } from "node:path";
import { DesiredWorker, StateRevision } from "@atoll/control-plane/contract";
import type { Logger } from "pino";
import { z } from "zod";
import { ChecksummedFile } from "./checksummed-file.ts";

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

/** Keeps one state on disk. Secrets in it are as they came, sealed to this node. */
export class StateStore {
  readonly #file: ChecksummedFile<typeof NodeState>;

  constructor({ directory, log }: { readonly directory: string; readonly log: Logger }) {
    this.#file = new ChecksummedFile({
      path: join(directory, FILE_NAME),
      schema: NodeState,
      damageMessage: "saved state is damaged: starting without it",
      log,
    });
  }

  /**
   * The last saved state; the empty one when there is none or what is there is damaged. Starting empty is safe: the
   * control plane sends a snapshot to a node at revision 0.
   */
  async load(): Promise<NodeState> {
    return (await this.#file.load()) ?? EMPTY_STATE;
  }

  /** Resolves when the state is on disk. */
  save(state: NodeState): Promise<void> {
    return this.#file.save(state);
  }
}
