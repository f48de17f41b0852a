import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";

/** What a DNS server says of a name. */
export type DnsAnswer =
  | { readonly kind: "records"; readonly texts: ReadonlyArray<string> }
  /** A code of RFC 1035, such as 2 for SERVFAIL and 3 for NXDOMAIN. */
  | { readonly kind: "failure"; readonly code: number }
  | { readonly kind: "silence" }
  | { readonly kind: "garbage" }
  /** As records, told when the test says so. */
  | { readonly kind: "held"; readonly texts: ReadonlyArray<string>; readonly until: Promise<void> };

const NXDOMAIN: DnsAnswer = { kind: "failure", code: 3 };
// RFC 1035, section 4.2.1: what is longer is cut, and asked for once more over TCP.
const UDP_BYTES_MAX = 512;
const TXT = 16;

/** A DNS server for TXT records on 127.0.0.1, over UDP and, for what is long, over TCP. */
export class DnsServer {
  readonly #udp: UdpSocket;
  readonly #tcp: Server;
  readonly #answers = new Map<string, DnsAnswer>();
  readonly #connections = new Set<Socket>();
  /** The questions so far, such as `udp _atoll-challenge.example.com`. */
  readonly questions: string[] = [];

  private constructor(udp: UdpSocket, tcp: Server) {
    this.#udp = udp;
    this.#tcp = tcp;
    udp.on("message", (question, { port, address }) => {
      void this.#respond(question, "udp").then((response) => {
        if (response !== undefined) udp.send(response, port, address);
      });
    });
    tcp.on("connection", (socket) => this.#serve(socket));
  }

  static async start(): Promise<DnsServer> {
    for (;;) {
      const udp = createSocket("udp4");
      udp.bind(0, "127.0.0.1");
      await once(udp, "listening");
      const tcp = createServer().listen(udp.address().port, "127.0.0.1");
      const isListening = await once(tcp, "listening").then(
        () => true,
        () => false, // another socket has this port for TCP
      );
      if (isListening) return new DnsServer(udp, tcp);
      udp.close();
    }
  }

  /** Such as `127.0.0.1:5353`. */
  get address(): string {
    return `127.0.0.1:${this.#udp.address().port}`;
  }

  /** Sets what is said of a name; of any other, that it does not exist. */
  set(name: string, answer: DnsAnswer): void {
    this.#answers.set(name, answer);
  }

  setTexts(name: string, ...texts: ReadonlyArray<string>): void {
    this.set(name, { kind: "records", texts });
  }

  async close(): Promise<void> {
    const closed = [once(this.#udp, "close"), once(this.#tcp, "close")];
    for (const socket of this.#connections) socket.destroy();
    this.#udp.close();
    this.#tcp.close();
    await Promise.all(closed);
  }

  #serve(socket: Socket): void {
    this.#connections.add(socket);
    socket.on("close", () => this.#connections.delete(socket));
    socket.on("error", () => undefined); // the asking side gave up
    let received = Buffer.alloc(0);
    socket.on("data", (bytes: Buffer) => {
      received = Buffer.concat([received, bytes]);
      if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
      const question = received.subarray(2, 2 + received.readUInt16BE(0));
      void this.#respond(question, "tcp").then((response) => {
        if (response !== undefined) socket.write(withLength(response));
      });
      received = received.subarray(2 + question.length);
    });
  }

  async #respond(question: Buffer, transport: "udp" | "tcp"): Promise<Buffer | undefined> {
    const name = nameIn(question);
    this.questions.push(`${transport} ${name}`);
    const answer = this.#answers.get(name) ?? NXDOMAIN;
    if (answer.kind === "silence") return undefined;
    if (answer.kind === "garbage") return Buffer.concat([question.subarray(0, 2), GARBAGE]);
    if (answer.kind === "failure") return message(question, { code: answer.code });
    if (answer.kind === "held") await answer.until;
    const whole = message(question, { texts: answer.texts });
    const isCut = transport === "udp" && whole.length > UDP_BYTES_MAX;
    return isCut ? message(question, { isCut }) : whole;
  }
}

// An answer whose count promises more than there is.
const GARBAGE = Buffer.from("818000010005000000000473686f72", "hex");

function nameIn(question: Buffer): string {
  const labels: string[] = [];
  for (let at = 12; question[at]; at += 1 + (question[at] ?? 0)) {
    labels.push(question.toString("latin1", at + 1, at + 1 + (question[at] ?? 0)));
  }
  return labels.join(".").toLowerCase();
}

/** An answer to a question, RFC 1035, section 4. */
function message(
  question: Buffer,
  answer: {
    readonly texts?: ReadonlyArray<string>;
    readonly code?: number;
    readonly isCut?: boolean;
  },
): Buffer {
  const { texts = [], code = 0, isCut = false } = answer;
  const header = Buffer.alloc(12);
  question.copy(header, 0, 0, 2);
  // A response, recursion desired and available.
  header.writeUInt16BE(0x8180 | (isCut ? 0x0200 : 0) | code, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(texts.length, 6);
  const asked = question.subarray(12, 12 + question.subarray(12).indexOf(0) + 5);
  return Buffer.concat([header, asked, ...texts.map(textRecord)]);
}

function textRecord(text: string): Buffer {
  const bytes = Buffer.from(text);
  const pieces: Buffer[] = [];
  for (let at = 0; at === 0 || at < bytes.length; at += 255) {
    const piece = bytes.subarray(at, at + 255);
    pieces.push(Buffer.from([piece.length]), piece);
  }
  const data = Buffer.concat(pieces);
  const head = Buffer.alloc(12);
  head.writeUInt16BE(0xc00c, 0); // the name of the question
  head.writeUInt16BE(TXT, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt32BE(60, 6);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}

function withLength(response: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(response.length);
  return Buffer.concat([length, response]);
}
