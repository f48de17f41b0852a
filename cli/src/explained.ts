import { ControlPlaneError } from "@atoll/control-plane";
import { UsageError } from "./settings.ts";

/** Lets the user read what the control plane's parts refuse as one sentence: all of it can be mended. */
export async function explained<Result>(action: () => Promise<Result>): Promise<Result> {
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof ControlPlaneError)) throw error;
    throw new UsageError(error.message, { cause: error });
  }
}
