import { once } from "node:events";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, test } from "vitest";
import { z } from "zod";
import { AccountApi } from "./account-api.ts";
import { UsageError } from "./settings.ts";

let server: Server | undefined;
afterEach(() => server?.close());

async function ask(answer: RequestListener): Promise<unknown> {
  server?.close();
  server = createServer(answer).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const api = new AccountApi({
    CLOUDFLARE_API_BASE_URL: `http://127.0.0.1:${port}/client/v4`,
    CLOUDFLARE_API_TOKEN: "token",
    CLOUDFLARE_ACCOUNT_ID: "account",
  });
  return api.call("/things", z.array(z.string()));
}

test("account api: an answer is its result, and one that is none is told in a sentence", async () => {
  const result = { result: ["a"], errors: [], success: true };
  expect(await ask((_, response) => response.end(JSON.stringify(result)))).toEqual(["a"]);
  for (const text of ["<html>hi</html>", "{}", JSON.stringify({ ...result, result: "a" })]) {
    const asked = ask((_, response) => response.end(text));
    await expect(asked).rejects.toBeInstanceOf(UsageError);
    await expect(asked).rejects.toThrow(/^What http:\S+ answers is not an Atoll's of this version/);
  }
  const cut = ask((_, response) => {
    response.writeHead(200, { "content-length": 100 }).write("{", () => response.destroy());
  });
  await expect(cut).rejects.toThrow(/^The answer of http:\S+ broke off: try again/);
});
