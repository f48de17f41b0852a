import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";
import { TestClock } from "../test-support/test-clock.ts";
import { RateLimiter } from "./rate-limiter.ts";
import { networkOf } from "./rate-limits.ts";

describe("rate limiter: ", () => {
  const clock = new TestClock();
  const limiter = (keysMax = 10) =>
    new RateLimiter({ clock, rate: { perSecond: 2, burst: 3 }, keysMax });

  test("a burst passes, the next one waits, and time gives back up to the burst", () => {
    const rate = limiter();
    const take = () => rate.take("a");
    expect([take(), take(), take(), take()]).toEqual([0, 0, 0, 1]);
    expect(rate.take("b")).toBe(0);
    clock.advanceMs(499);
    expect(take()).toBe(1);
    clock.advanceMs(1);
    expect([take(), take()]).toEqual([0, 1]);
    clock.advanceMs(60_000);
    expect([take(), take(), take(), take()]).toEqual([0, 0, 0, 1]);
  });

  test("it says how many whole seconds there are to wait", () => {
    const slow = new RateLimiter({ clock, rate: { perSecond: 0.1, burst: 1 }, keysMax: 1 });
    expect([slow.take("a"), slow.take("a")]).toEqual([0, 10]);
  });

  test("it remembers a bounded number of keys, those used last", () => {
    const rate = limiter(2);
    for (const key of ["a", "a", "a", "b", "a", "c"]) rate.take(key);
    expect(rate.take("a")).toBe(1);
    expect(rate.take("b")).toBe(0);
  });

  test.each([
    ["192.0.2.1", "192.0.2.1"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:db8::1", "2001:db8:0:0::/64"],
    ["2001:db8:1:2::", "2001:db8:1:2::/64"],
    ["::1", "0:0:0:0::/64"],
    ["", ""],
  ])("an address '%s' is counted as '%s'", (address, network) => {
    expect(networkOf(address)).toBe(network);
  });
});

// Much less than by default, which differs in nothing but the time that it takes to use up.
const RATES = { address: { perSecond: 20, burst: 100 }, token: { perSecond: 5, burst: 50 } };

describe("rate limits: ", () => {
  let api: ControlPlaneApi;
  beforeEach(async () => {
    api = await ControlPlaneApi.start({ requestRates: RATES });
  });
  afterEach(() => api.close());

  /** Calls until so many have been answered; resolves with the last answer. */
  async function callTimes(times: number, init: RequestInit = {}): Promise<Response> {
    let last = await api.fetch("/memberships", init);
    for (let done = 1; done < times; done += 1) {
      await last.arrayBuffer();
      last = await api.fetch("/memberships", init);
    }
    return last;
  }

  test("a token that asks too much is told when to come back; others go on", async () => {
    expect((await callTimes(RATES.token.burst)).status).toBe(200);
    const refused = await api.fetch("/memberships");
    expect(refused.status).toBe(429);
    expect(refused.headers.get("retry-after")).toBe("1");
    expect(await refused.json()).toMatchObject({
      errors: [{ code: 971, message: "Too many requests by this API token: try again in 1 s" }],
    });
    expect((await api.fetch("/memberships", {}, "theirs")).status).toBe(200);
    api.clock.advanceMs(1_000);
    expect((await api.fetch("/memberships")).status).toBe(200);
  });

  test("an address that asks too much is refused before anybody looks at its token", async () => {
    const headers = { authorization: "Bearer wrong" };
    expect((await callTimes(RATES.address.burst, { headers })).status).toBe(401);
    const refused = await api.fetch("/memberships", { headers });
    expect({ status: refused.status, after: refused.headers.get("retry-after") }).toEqual({
      ...{ status: 429, after: "1" },
    });
    expect(await refused.text()).toContain("by this address");
  });
});
