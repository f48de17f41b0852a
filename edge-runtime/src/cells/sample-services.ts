import { join } from "node:path";
import type { OpenCellServices } from "./cell-services.ts";

/** For tests: sockets that a cell may call, and that count nothing. */
export function sampleServices(sockets: OpenCellServices["sockets"]): OpenCellServices {
  return {
    sockets,
    subrequestUsage: () => ({ requests: 0, bytesSent: 0, bytesReceived: 0 }),
    close: async () => undefined,
  };
}

/** For tests: sockets at which nobody listens. */
export function servicesNowhere(directory: string): OpenCellServices {
  const nowhere = join(directory, "nowhere.sock");
  return sampleServices({ "kv.sock": nowhere, "egress.sock": nowhere, "cache.sock": nowhere });
}
