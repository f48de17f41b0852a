import { openNodesService, type DatabasePlace } from "@atoll/control-plane";
import { systemClock } from "@atoll/kv-store";
import { requirePlace } from "../database-place.ts";

/**
 * A one-time token for a node to join with, written straight into the control plane's database: whoever
 * can read that folder owns the fleet already. The control plane may be running meanwhile.
 */
export async function issueJoinToken(place: DatabasePlace): Promise<string> {
  requirePlace(place);
  const { nodes, close } = await openNodesService({ ...place, clock: systemClock });
  try {
    return (await nodes.issueJoinToken()).token;
  } finally {
    await close();
  }
}
