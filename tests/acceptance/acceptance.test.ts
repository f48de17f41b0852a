import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { EVERYDAY_RELEASES, IS_THOROUGH, startAtoll, type TestAtoll } from "../support/atoll.ts";
import { readStory } from "./story.ts";
import { tell } from "./tell.ts";

const STORIES = join(import.meta.dirname, "stories");

let atoll: TestAtoll;
beforeAll(async () => {
  atoll = await startAtoll();
});
afterAll(() => atoll.stop());

describe.each(EVERYDAY_RELEASES)("wrangler %s: ", (release) => {
  for (const file of readdirSync(STORIES).toSorted()) {
    const story = readStory(readFileSync(join(STORIES, file), "utf8"), release);
    if (!story.isEveryday && !IS_THOROUGH) continue;
    // A dozen runs of wrangler, each of which takes seconds of a busy machine.
    test(file, { timeout: 300_000 }, async () => {
      expect((await tell(atoll, story, { file, release })).join("\n\n")).toBe("");
    });
  }
});
