import {
  openMasterKeyRotation,
  type DatabasePlace,
  type MasterKeyRotation,
} from "@atoll/control-plane";
import { requirePlace } from "../database-place.ts";
import { explained } from "../explained.ts";

/** The master keys by their ids, and what needs them. */
export async function masterKeyStatus(place: DatabasePlace): Promise<string> {
  return withRotation(place, async (rotation) => {
    const { ids, use } = await rotation.status();
    const lines = ids.map((id, index) => {
      const role = index === 0 ? "current" : "earlier";
      return `${id}  ${role}, needed by ${count(use.get(id) ?? 0)}`;
    });
    for (const [id, records] of use) {
      if (id === undefined) {
        lines.push(`${count(records)} sealed by an earlier version of Atoll: rotate to renew them`);
      } else if (!ids.includes(id)) lines.push(`${id}  missing, needed by ${count(records)}`);
    }
    return lines.join("\n");
  });
}

export async function rotateMasterKey(place: DatabasePlace): Promise<string> {
  return withRotation(place, async (rotation) => {
    const { kind, records, currentId } = await rotation.rotate();
    const moved = `${count(records)} brought under the master key ${currentId}.`;
    if (kind === "rotated") return `The master key is another one now: ${moved}`;
    if (process.env["ATOLL_MASTER_KEY"] === undefined) {
      return `An earlier rotation was not finished, and is now: ${moved} Run the command again for a new key.`;
    }
    return `${moved} The other keys of ATOLL_MASTER_KEY are needed by nothing any more.`;
  });
}

async function withRotation<Result>(
  place: DatabasePlace,
  action: (rotation: MasterKeyRotation) => Promise<Result>,
): Promise<Result> {
  requirePlace(place);
  const masterKey = process.env["ATOLL_MASTER_KEY"];
  const rotation = await openMasterKeyRotation({ ...place, masterKey });
  try {
    return await explained(() => action(rotation));
  } finally {
    await rotation.close();
  }
}

function count(records: number): string {
  return records === 1 ? "1 sealed record" : `${records} sealed records`;
}
