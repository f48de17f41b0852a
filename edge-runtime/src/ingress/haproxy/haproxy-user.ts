import { chmod, chown, readFile } from "node:fs/promises";

/** Who HAProxy's worker process is when the agent is root. */
export interface HaproxyUser {
  readonly userId: number;
  readonly groupId: number;
}

// Debian's package makes a user for it; elsewhere it is the one that owns nothing.
const NAMES = ["haproxy", "nobody"];

/** `undefined` when the agent isn't root: then HAProxy is what the agent is. */
export async function haproxyUser(): Promise<HaproxyUser | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const users = (await readFile("/etc/passwd", "utf8")).split("\n").map((line) => line.split(":"));
  const found = NAMES.map((name) => users.find(([user]) => user === name)).find(
    (user) => user !== undefined,
  );
  if (found === undefined)
    throw new Error("there is no user 'haproxy' nor 'nobody' to run HAProxy as");
  return { userId: Number(found[2]), groupId: Number(found[3]) };
}

/** Lets HAProxy's group connect to a socket of the agent's, besides the agent itself. */
export async function shareSocket(socketPath: string, groupId: number): Promise<void> {
  await chown(socketPath, process.getuid?.() ?? 0, groupId);
  await chmod(socketPath, 0o660);
}
