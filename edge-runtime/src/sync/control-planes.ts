import assert from "node:assert/strict";

/** The addresses of a fleet's control planes. Any of them answers any call: one is used until it fails. */
export class ControlPlanes {
  readonly #urls: ReadonlyArray<string>;
  #index = 0;

  /** Such as `http://127.0.0.1:4400`; at least one. */
  constructor(urls: ReadonlyArray<string>) {
    assert(urls.length > 0, "a node has at least one control plane");
    this.#urls = urls;
  }

  get current(): string {
    return this.#urls[this.#index] ?? "";
  }

  /** Goes on to the next address after one failed, unless that was done since. */
  leave(url: string): void {
    if (url === this.current) this.#index = (this.#index + 1) % this.#urls.length;
  }

  /** Calls one after the other until one answers. Rejected with the last one's failure. */
  async call<Result>(attempt: (url: string) => Promise<Result>): Promise<Result> {
    for (let left = this.#urls.length - 1; ; left -= 1) {
      const url = this.current;
      try {
        return await attempt(url);
      } catch (error) {
        this.leave(url);
        if (left === 0) throw error;
      }
    }
  }
}
