import assert from "node:assert/strict";
import { fill, matches } from "./expected-lines.ts";
import type { Visit } from "./story.ts";
import type { Telling } from "./telling.ts";

/** Makes a request. Rejected when its answer is not as written. */
export async function visit(step: Visit, { atoll, names }: Telling): Promise<void> {
  const { method, headers } = step;
  const [host, path] = [fill(step.host, names), fill(step.path, names)];
  const answer = await atoll.get("fra", `${host}.localhost`, path, { method, headers });
  const seen = `${answer.status} ${answer.body.trim()}`;
  const isRight = matches(seen, `${step.status} ${step.body}`, names);
  assert.ok(isRight, `${method} ${host} ${path} is not ${step.status} ${step.body} but ${seen}`);
}
