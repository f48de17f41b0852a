import type { Database } from "../database/database.ts";
import type { MasterKeys } from "./master-keys.ts";
import { deriveKey, SecretSealer } from "./sealing.ts";

/** Keys that stay when the master key is replaced. */
export interface InstallationKeys {
  /** Seed of the key that signs desired states, whose public half nodes keep from their enrolment on. */
  readonly fleetSeed: Uint8Array;
  readonly uploadTokens: Uint8Array;
}

/**
 * Reads the keys of the installation, or makes them on its first start. Rejected with `secret_unreadable` when
 * the master key is not the one that they were sealed with: then no secret would open either.
 */
export async function openInstallationKeys(
  database: Database,
  masterKeys: MasterKeys,
): Promise<InstallationKeys> {
  const sealer = new SecretSealer(masterKeys);
  const open = async (name: string, purpose: string): Promise<Uint8Array> => {
    const find = async (): Promise<string | undefined> => {
      const query = database.selectFrom("installation_keys").select("sealed");
      return (await query.where("name", "=", name).executeTakeFirst())?.sealed;
    };
    let sealed = await find();
    if (sealed === undefined) {
      // What an earlier version derived each time: its nodes know the fleet by it.
      const derived = deriveKey(masterKeys.current.bytes, purpose);
      const row = { name, sealed: sealer.seal(derived.toString("hex"), keyContext(name)) };
      await database
        .insertInto("installation_keys")
        .values(row)
        .onConflict((conflict) => conflict.column("name").doNothing())
        .execute();
      // Another control plane may have been first.
      sealed = (await find()) ?? row.sealed;
    }
    return Buffer.from(sealer.open(sealed, keyContext(name)), "hex");
  };
  return {
    fleetSeed: await open("fleet-signatures", "atoll fleet signatures v1"),
    uploadTokens: await open("upload-tokens", "atoll asset upload tokens v1"),
  };
}

/** Binds a sealed key to its name. */
export function keyContext(name: string): string {
  return `key of the installation for ${name}`;
}
