import { resolve } from "node:path";
import { openNamespacesService } from "@atoll/control-plane";
import { systemClock } from "@atoll/kv-store";
import { createLog } from "../log.ts";
import { requirePlace } from "../database-place.ts";
import { openKvOrigin } from "./open-origin.ts";

/**
 * Says which namespaces accounts have that the key-value store lacks, and with `empty` makes them anew: the way out
 * when what held them is lost, and the control plane therefore refuses to start.
 */
export async function recreateKv(options: {
  readonly data: string;
  readonly database?: string;
  readonly kvDatabase?: string;
  readonly empty: boolean;
}): Promise<string> {
  const dataDirectory = resolve(options.data);
  const place = { dataDirectory, databaseUrl: options.database };
  requirePlace(place);
  const log = createLog("kv-recreate");
  const origin = await openKvOrigin({
    dataDirectory,
    url: options.kvDatabase ?? options.database,
    log,
  });
  try {
    const service = await openNamespacesService({ ...place, origin, clock: systemClock });
    try {
      const { namespaces } = service;
      const missing = options.empty
        ? await namespaces.recreateMissing()
        : await namespaces.missingAtOrigin();
      const list = missing.map(({ id, account }) => `${id} of account ${account}`);
      if (missing.length === 0) return "The key-value store has all namespaces: nothing to do.";
      if (options.empty) return ["Made anew, empty:", ...list].join("\n");
      return [
        "The key-value store lacks these namespaces:",
        ...list,
        "If it is the wrong file or database, start with the right one. If it is lost, restore a backup. If there is none,",
        "--empty makes them anew: every node then drops the copy that it still has.",
      ].join("\n");
    } finally {
      await service.close();
    }
  } finally {
    await origin.close();
  }
}
