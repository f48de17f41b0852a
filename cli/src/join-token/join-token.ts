import { existsSync } from "node:fs";
import { openNodesService } from "@atoll/control-plane";
import { systemClock } from "@atoll/kv-store";
import { UsageError } from "../settings.ts";

/**
 * A one-time token for a node to join with, written straight into the control plane's database: whoever
 * can read that folder owns the fleet already. The control plane may be running meanwhile.
 */
export async function issueJoinToken(options: { readonly dataDirectory: string }): Promise<string> {
  if (!existsSync(options.dataDirectory)) {
    throw new UsageError(
      `${options.dataDirectory} does not exist: run this where the control plane runs, with its --data`,
    );
  }
  const { nodes, close } = await openNodesService({ ...options, clock: systemClock });
  try {
    return (await nodes.issueJoinToken()).token;
  } finally {
    await close();
  }
}
