import type { RootDatabase, Transaction } from "lmdb";

/**
 * The state that reads see, of single entries and of lists alike: that of the last commit that this process was told
 * of. Views of their own would show some of them a commit that others don't show yet. LMDB would take one for each
 * millisecond in which something is read, and set a timer to let go of it: to be woken for that costs a node as much as
 * the reads. Held from commit to commit it is never an old one, which would keep LMDB from using its pages again.
 */
export class ReadView {
  readonly #root: RootDatabase<Buffer, Buffer>;
  #transaction: Transaction | undefined;

  constructor(root: RootDatabase<Buffer, Buffer>) {
    this.#root = root;
  }

  /** To be given to a read, and not kept. */
  get transaction(): Transaction {
    this.#transaction ??= this.#root.useReadTransaction();
    return this.#transaction;
  }

  /** Something may have been committed: whatever is read from now on shows it. Must be called before LMDB is closed. */
  renew(): void {
    this.#transaction?.done();
    this.#transaction = undefined;
    // LMDB's other reads share a view for a moment, too.
    this.#root.resetReadTxn();
  }
}
