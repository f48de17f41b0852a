export interface Signature {
  readonly name: string;
  readonly message: string;
}

export interface Entry extends Signature {
  readonly region: string;
  readonly at: string;
}

const NAME_LENGTH_MAX = 40;
const MESSAGE_LENGTH_MAX = 280;
// The last instant that a Date can hold: no time's distance to it is negative or longer than 16 digits.
const LAST_INSTANT_MS = 8_640_000_000_000_000;

/** KV lists keys in ascending order; a key made of the time that is left sorts the newest first. */
export function entryKey(nowMs: number): string {
  const left = String(LAST_INSTANT_MS - nowMs).padStart(16, "0");
  return `entry:${left}:${crypto.randomUUID()}`;
}

/** The name and message in what a visitor sent, or what is wrong with it. */
export function parseSignature(body: unknown): Signature | { readonly problem: string } {
  if (typeof body !== "object" || body === null) return { problem: "expected a JSON object" };
  const { name, message } = body as Record<string, unknown>;
  if (typeof name !== "string" || typeof message !== "string") {
    return { problem: "name and message must be text" };
  }
  const signature = { name: name.trim(), message: message.trim() };
  if (signature.name === "" || signature.name.length > NAME_LENGTH_MAX) {
    return { problem: `name must have 1 to ${NAME_LENGTH_MAX} characters` };
  }
  if (signature.message === "" || signature.message.length > MESSAGE_LENGTH_MAX) {
    return { problem: `message must have 1 to ${MESSAGE_LENGTH_MAX} characters` };
  }
  return signature;
}
