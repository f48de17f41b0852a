import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { EdgeError } from "../../errors.ts";
import { LIMITS } from "../../limits.ts";

interface PendingCommand {
  readonly resolve: (answer: string) => void;
  readonly reject: (error: Error) => void;
}

// What HAProxy writes before it reads a command; each answer ends with it.
const PROMPT = "\n> ";

/**
 * A connection to HAProxy's runtime socket. Commands are answered in the order in which they were given,
 * and none waits for the answer of the one before. When the connection ends, all that is unanswered is
 * rejected with `ingress_unavailable`, and so is everything later.
 */
export class RuntimeSocket {
  readonly #socket: Socket;
  readonly #pending: PendingCommand[] = [];
  #received = "";
  #failure: EdgeError | undefined;
  /** Resolves when the connection is gone, whoever ended it. */
  readonly closed: Promise<void>;

  static async open(path: string): Promise<RuntimeSocket> {
    const socket = connect(path);
    await once(socket, "connect");
    const runtime = new RuntimeSocket(socket);
    await runtime.#send("prompt\n");
    return runtime;
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding("utf8");
    socket.on("data", (text: string) => this.#receive(text));
    // The error is followed by `close`.
    socket.on("error", () => undefined);
    this.closed = new Promise((resolve) => {
      socket.once("close", () => {
        this.#fail("the connection to HAProxy's runtime socket ended");
        resolve();
      });
    });
  }

  /**
   * Resolves with what HAProxy says. That includes refusals, which it does not mark: a command that
   * has nothing to tell is answered with nothing when it worked.
   */
  ask(command: string): Promise<string> {
    return this.#send(`${command}\n`);
  }

  close(): void {
    this.#socket.destroy();
  }

  #send(text: string): Promise<string> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#pending.push({ resolve, reject });
      this.#socket.write(text);
    });
  }

  #receive(text: string): void {
    this.#received += text;
    for (;;) {
      const end = this.#received.indexOf(PROMPT);
      if (end === -1) break;
      // Each line of a command after its first is asked for with a mark of its own.
      const answer = this.#received.slice(0, end).replace(/^(\+ )+/, "");
      this.#received = this.#received.slice(end + PROMPT.length);
      this.#pending.shift()?.resolve(answer);
    }
    if (this.#received.length > LIMITS.runtimeAnswerLengthMax) {
      this.#fail(`HAProxy's answer is longer than ${LIMITS.runtimeAnswerLengthMax} characters`);
      this.#socket.destroy();
    }
  }

  #fail(message: string): void {
    this.#failure ??= new EdgeError("ingress_unavailable", message);
    for (const { reject } of this.#pending.splice(0)) reject(this.#failure);
  }
}
