import type { WriteStream } from "node:tty";

// Often enough to see that something goes on, seldom enough to read it.
const SHOWN_EVERY_MS = 200;

/** One line on standard error that tells how far something is. Only people see it: elsewhere it says nothing. */
export class Progress {
  readonly #stream: WriteStream;
  #shownMs = 0;
  #isShown = false;

  constructor(stream: WriteStream = process.stderr) {
    this.#stream = stream;
  }

  show(text: string): void {
    const nowMs = performance.now();
    if (!this.#stream.isTTY || nowMs - this.#shownMs < SHOWN_EVERY_MS) return;
    this.#shownMs = nowMs;
    this.#isShown = true;
    this.#stream.write(`\r\x1b[K${text}`);
  }

  /** Leaves the line empty. */
  end(): void {
    if (this.#isShown) this.#stream.write("\r\x1b[K");
    this.#isShown = false;
  }
}
