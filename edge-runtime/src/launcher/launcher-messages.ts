/** What a descriptor of a program is: a socket whose other end we get, or bytes that it reads, and then their end. */
export type Descriptor = "socket" | Uint8Array;

/** What is to be run. */
export interface Program {
  readonly file: string;
  readonly args: ReadonlyArray<string>;
  /** Where it begins. */
  readonly directory: string;
  /** All that it has of one. */
  readonly environment: Readonly<Record<string, string>>;
  /** The host's user and group that it runs as; absent: ours. */
  readonly user?: number;
  /** From 0 on. */
  readonly descriptors: ReadonlyArray<Descriptor>;
}

/** To the launcher. */
export type Order =
  | { readonly kind: "start"; readonly id: number; readonly program: Program }
  | {
      readonly kind: "signal";
      readonly id: number;
      readonly signal: NodeJS.Signals;
      /** Which process gets it, as long as the started one runs: itself, or one that lives with it. */
      readonly pid: number;
    };

/** How a process ended. */
export interface ProcessEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** From the launcher. For each start either `failed`, or `started` and later `ended`. */
export type Report =
  | { readonly kind: "failed"; readonly id: number; readonly reason: string }
  | { readonly kind: "started"; readonly id: number; readonly pid: number }
  | ({ readonly kind: "ended"; readonly id: number } & ProcessEnd);

/** Of which start a socket is, and which descriptor. */
export interface SocketName {
  readonly id: number;
  readonly descriptor: number;
}

/** The launcher sends its name first on each socket. */
export const PREAMBLE_BYTES = 8;

export function encodePreamble({ id, descriptor }: SocketName): Buffer {
  const preamble = Buffer.alloc(PREAMBLE_BYTES);
  preamble.writeUInt32LE(id, 0);
  preamble.writeUInt32LE(descriptor, 4);
  return preamble;
}

export function decodePreamble(preamble: Buffer): SocketName {
  return { id: preamble.readUInt32LE(0), descriptor: preamble.readUInt32LE(4) };
}
