import type { TestAtoll, WranglerRelease } from "../support/atoll.ts";
import type { TestProject } from "../support/project.ts";
import type { Names } from "./expected-lines.ts";

/** Where a story is told. */
export interface Telling {
  readonly atoll: TestAtoll;
  readonly project: TestProject;
  readonly release: WranglerRelease;
  readonly names: Names;
}
