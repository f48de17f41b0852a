import { REGIONS, type Answer, type TestAtoll } from "./atoll.ts";
import { eventually } from "./eventually.ts";

/** Waits until a worker answers in every region as `isReady` wants. */
export async function serveEverywhere(
  atoll: TestAtoll,
  name: string,
  isReady: (answer: Answer) => boolean,
): Promise<void> {
  for (const region of REGIONS) {
    await eventually(async () => isReady(await atoll.get(region, `${name}.localhost`, "/")), {
      what: `${name} answers in ${region} as expected`,
    });
  }
}
