import { join } from "node:path";

/** Is there once the example site was deployed, or must not be: nobody gets it back who deleted it. */
export function starterMarker(dataDirectory: string): string {
  return join(dataDirectory, "starter-deployed");
}
