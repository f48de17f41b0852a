import { chromium, type Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startAtoll, type TestAtoll } from "../support/atoll.ts";
import { copyExample, type TestProject } from "../support/project.ts";

let atoll: TestAtoll;
let browser: Browser;
let guestbook: TestProject;
beforeAll(async () => {
  [atoll, browser, guestbook] = await Promise.all([
    startAtoll({ withStarter: true }),
    chromium.launch({
      executablePath: "/usr/bin/chromium",
      args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
    }),
    copyExample("guestbook"),
  ]);
});
afterAll(async () => {
  await browser.close();
  await guestbook.remove();
  await atoll.stop();
});

test("the guestbook in a browser: signed in one region, read in another", async () => {
  const deployed = await atoll.wrangler(guestbook.directory, ["deploy"]);
  expect(deployed.exitCode, deployed.output).toBe(0);

  const page = await browser.newPage();
  const problems: string[] = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  await page.goto(`http://guestbook.localhost:${atoll.regions.iad.port}/`);
  await page.getByLabel(/name/i).fill("Ada");
  await page.getByLabel(/message/i).fill("Hello from <b>iad</b>");
  await page.getByRole("button").first().click();
  await page.getByText("Hello from <b>iad</b>").waitFor();

  const elsewhere = await browser.newPage();
  await elsewhere.goto(`http://guestbook.localhost:${atoll.regions.nrt.port}/`);
  await elsewhere.getByText("Hello from <b>iad</b>").waitFor();
  await elsewhere.getByText("Ada").first().waitFor();
  expect(problems).toEqual([]);
});

test("the front page in a browser: nodes, workers, and links that work", async () => {
  const page = await browser.newPage();
  await page.goto(`${atoll.url}/`);
  expect(await page.getByText("connected", { exact: true }).count()).toBe(3);
  await page.getByText("starter.localhost").waitFor();
  await page.getByRole("link", { name: "fra" }).first().click();
  await page.waitForURL(`http://*.localhost:${atoll.regions.fra.port}/`);
  expect(await page.locator("h1").count()).toBeGreaterThan(0);
});
