import { request } from "node:http";
import { afterEach, describe, expect, test } from "vitest";
import { ControlPlaneApi, type Tenant } from "../test-support/control-plane-api.ts";

let api: ControlPlaneApi;
afterEach(() => api.close());

/** With a worker of each account, or, of an installation that was just made, of its only one. */
async function start(isFrontPageOpenHere: boolean, accounts: 1 | 2 = 2): Promise<void> {
  api = await ControlPlaneApi.start({ isFrontPageOpenHere });
  await api.deploy("our-worker");
  if (accounts === 2) {
    await api.deploy("their-worker", {}, "theirs");
    return;
  }
  const { database } = api.controlPlane;
  const theirs = api.tenants.theirs.account.id;
  await database.deleteFrom("api_tokens").where("account_id", "=", theirs).execute();
  await database.deleteFrom("accounts").where("id", "=", theirs).execute();
}

interface Page {
  readonly status: number;
  readonly challenge: string | undefined;
  readonly text: string;
}

/** The front page as a browser asks for it; `fetch` would not send another host. */
async function open(headers: Readonly<Record<string, string>> = {}): Promise<Page> {
  return new Promise((resolve, reject) => {
    const options = { headers: { accept: "text/html,*/*;q=0.8", ...headers }, agent: false };
    request(`${api.controlPlane.url}/`, options, (response) => {
      const pieces: Buffer[] = [];
      response.on("data", (piece: Buffer) => pieces.push(piece));
      response.on("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          challenge: response.headers["www-authenticate"],
          text: Buffer.concat(pieces).toString(),
        }),
      );
    })
      .on("error", reject)
      .end();
  });
}

function basic(password: string): Readonly<Record<string, string>> {
  return { authorization: `Basic ${Buffer.from(`me:${password}`).toString("base64")}` };
}

/** Whether the page asks for a token, and tells nothing of the fleet. */
function hidesAll({ status, challenge, text }: Page): boolean {
  const isAsking = status === 401 && challenge?.startsWith("Basic ") === true;
  return isAsking && !/our-worker|their-worker|nodes|wrangler\.env/.test(text);
}

describe("front page: ", () => {
  test("shows an installation with one account to its own machine, where that is wanted", async () => {
    await start(true, 1);
    const page = await open();
    expect(page).toMatchObject({ status: 200, challenge: undefined });
    expect(page.text).toContain("our-worker.atoll.test");
    expect(page.text).toContain("source wrangler.env");
  });

  test("shows nothing by a stranger's name for the machine, or through a proxy", async () => {
    await start(true, 1);
    for (const headers of [
      { host: "rebound.example" },
      { host: "127.0.0.1.example" },
      // No name, nor an address.
      { host: "127.0.0.0.1" },
      { "x-forwarded-for": "192.0.2.1" },
      { forwarded: "for=192.0.2.1" },
      { via: "1.1 proxy" },
    ]) {
      expect(await open(headers)).toSatisfy(hidesAll);
    }
  });

  test("shows nothing without a token where nobody wants it open, or there are more accounts", async () => {
    await start(false, 1);
    expect(await open()).toSatisfy(hidesAll);
    await api.close();
    await start(true);
    expect(await open()).toSatisfy(hidesAll);
  });

  test.each(["ours", "theirs"] as const)(
    "shows what is visible to %s with a token, as a bearer's or a password",
    async (tenant: Tenant) => {
      await start(true);
      const { token } = api.tenants[tenant];
      for (const headers of [basic(token), { authorization: `Bearer ${token}` }]) {
        const page = await open({ ...headers, host: "console.example" });
        expect(page.status).toBe(200);
        expect(page.text).toContain("their-worker");
        // The account that was made first is the operator's.
        expect(page.text.includes("our-worker")).toBe(tenant === "ours");
        expect(page.text).not.toContain("wrangler.env");
      }
    },
  );

  test("shows nothing for credentials that are none", async () => {
    await start(true);
    const wrong = ["", "no colon", "a:", "a:wrong", "a:b:c", `a:${"x".repeat(7_000)}`];
    for (const text of wrong) {
      const authorization = `Basic ${Buffer.from(text).toString("base64")}`;
      expect(await open({ authorization })).toSatisfy(hidesAll);
      expect(await open({ authorization: `Basic ${text}` })).toSatisfy(hidesAll);
    }
  });

  test("tells programs in their own way that they need a token", async () => {
    await start(true);
    const response = await fetch(`${api.controlPlane.url}/`);
    expect(response.status).toBe(401);
    expect(await response.json()).toMatchObject({ errors: [{ code: 10_000 }] });
  });

  test("a password is no token for the API", async () => {
    await start(true);
    const headers = basic(api.tenants.ours.token);
    const response = await fetch(`${api.controlPlane.url}/client/v4/accounts`, { headers });
    expect(response.status).toBe(401);
  });
});
