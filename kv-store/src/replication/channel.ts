/**
 * One connection between a node and the origin, however it travels. Messages are plain objects (numbers,
 * strings, arrays, `Uint8Array`), and arrive as equal ones, in order, until the channel closes. The two
 * ends don't rely on the order or on completeness: they detect what is missing and ask for it again.
 */
export interface Channel {
  /** Queues a message; does nothing once closed. The content must not be changed afterwards. */
  send(message: unknown): void;
  /** The one listener for what arrives; it does not throw. Never called from within `send`. */
  onMessage(listener: (message: unknown) => void): void;
  /** The one listener for the end of the channel: called once, whoever closed it, also when it already is. */
  onClose(listener: () => void): void;
  /** Ends the connection, so that the node makes a new one. May be called twice. */
  close(reason: string): void;
}
