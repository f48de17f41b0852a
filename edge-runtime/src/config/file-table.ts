/** A file that a config embeds: the blob with this hash. */
export interface EmbeddedFile {
  readonly file: string;
  readonly blob: string;
}

/** Names the files that a config embeds; a blob that is used twice is one file. */
export class FileTable {
  readonly #files = new Map<string, string>();

  /** The file name of a blob. */
  fileOf(blob: string): string {
    const known = this.#files.get(blob);
    if (known !== undefined) return known;
    const file = `f${this.#files.size}`;
    this.#files.set(blob, file);
    return file;
  }

  get all(): ReadonlyArray<EmbeddedFile> {
    return [...this.#files].map(([blob, file]) => ({ file, blob }));
  }
}
