import { beforeEach, describe } from "vitest";
import { describeBalancing } from "./conformance/balancing.conformance.ts";
import { describeHeaders } from "./conformance/headers.conformance.ts";
import type { IngressBackend } from "./conformance/ingress-harness.ts";
import { describeHostile } from "./conformance/hostile.conformance.ts";
import { describeLimits, describeStalledAnswers } from "./conformance/limits.conformance.ts";
import { describeMetering } from "./conformance/metering.conformance.ts";
import { describeRefusals } from "./conformance/refusals.conformance.ts";
import { describeRouting } from "./conformance/routing.conformance.ts";
import { describeStreaming } from "./conformance/streaming.conformance.ts";
import { describeSwitching } from "./conformance/switching.conformance.ts";
import { describeVersions } from "./conformance/versions.conformance.ts";
import { describeWebSockets } from "./conformance/websockets.conformance.ts";

/**
 * What every `Ingress` promises, tried over real sockets, against cells of workerd where the behaviour is
 * workerd's and scripted servers where the test must see or break the other side.
 */
export function describeIngress(name: string, backend: IngressBackend): void {
  describe(`${name} as an ingress`, () => {
    const skipped = new Map(backend.skip?.map(({ test, reason }) => [test, reason]));
    beforeEach(({ task, skip }) => {
      const reason = skipped.get(task.name);
      if (reason !== undefined) skip(reason);
    });
    describeRouting(backend);
    describeHeaders(backend);
    describeStreaming(backend);
    describeWebSockets(backend);
    describeSwitching(backend);
    describeBalancing(backend);
    describeVersions(backend);
    describeHostile(backend);
    describeLimits(backend);
    describeStalledAnswers(backend);
    describeMetering(backend);
    describeRefusals(backend);
  });
}
