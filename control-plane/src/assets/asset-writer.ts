import { AssetBatch } from "./asset-batch.ts";
import type { UploadedContents } from "./uploaded-contents.ts";

/** A file whose content is known to be what it is called. */
interface CheckedAsset {
  readonly hash: string;
  readonly base64: string;
  /** Of the content. */
  readonly bytes: number;
  readonly contentType?: string;
}

/** Stores the files of one call in batches: while one is on its way to the disk, the next one fills. */
export class AssetWriter {
  readonly #contents: UploadedContents;
  readonly #account: string;
  #filling = new AssetBatch();
  #spare: AssetBatch | undefined;
  #storing: Promise<void> = Promise.resolve();

  private constructor(contents: UploadedContents, account: string) {
    this.#contents = contents;
    this.#account = account;
  }

  /**
   * Resolves when all that `fill` adds is stored. Rejected as `fill` or the storing is, and then nothing is being
   * stored any more; files that were added before may stay.
   */
  static async run(
    { contents, account }: { readonly contents: UploadedContents; readonly account: string },
    fill: (writer: AssetWriter) => Promise<void>,
  ): Promise<void> {
    const writer = new AssetWriter(contents, account);
    try {
      await fill(writer);
      await writer.#flush();
    } finally {
      await writer.#storing;
    }
  }

  async add({ base64, bytes, ...asset }: CheckedAsset): Promise<void> {
    if (!this.#filling.hasRoomFor(bytes)) await this.#flush();
    this.#filling.add({ ...asset, content: this.#filling.decode(base64, bytes) });
  }

  async #flush(): Promise<void> {
    await this.#storing;
    const full = this.#filling;
    this.#filling = this.#spare ?? new AssetBatch();
    this.#spare = full;
    this.#storing = this.#contents.store(this.#account, full);
    // Who adds next, or ends, is told.
    this.#storing.catch(() => undefined);
  }
}
