import type { Client } from "./exchange.ts";

/** What a visitor of an example does, step by step. */
export type Script = (client: Client) => Promise<void>;

const JSON_TYPE = { "content-type": "application/json" };
const FORM_TYPE = { "content-type": "application/x-www-form-urlencoded" };

/** For each folder of `sites/examples`: requests that reach every route, every kind of answer, and errors. */
export const EXAMPLE_SCRIPTS: Readonly<Record<string, Script>> = {
  guestbook: async (client) => {
    await getAgain(client, "/");
    await getAgain(client, "/guestbook.js");
    await client.get("/index.html");
    await client.get("/api/entries");
    const body = JSON.stringify({ name: "Ada", message: "Grüße!" });
    const path = "/api/entries";
    await client.send({ method: "POST", path, headers: JSON_TYPE, body });
    await client.send({ method: "POST", path, headers: FORM_TYPE, body: "name=B&message=a+b" });
    for (const wrong of ["", "{", "[]", '{"name":"","message":"x"}', '{"name":1,"message":2}']) {
      await client.send({ method: "POST", path, headers: JSON_TYPE, body: wrong });
    }
    await client.get("/api/entries");
    await client.send({ method: "DELETE", path });
    await client.get("/nothing");
    await client.send({ method: "HEAD", path: "/" });
  },
  "express-app": async (client) => {
    await getAgain(client, "/", ID);
    await client.get("/greet/J%C3%BCrgen?a=1&a=2&b%5Bc%5D=3", ID);
    await client.get("/greet/", ID);
    await client.get("/shelves/sea/books", ID);
    await client.get("/shelves/sea/books/2", ID);
    await client.get("/shelves/sea/books/9", ID);
    await client.get("/shelves/none/books", ID);
    await client.get("/old-greeting", ID);
    await client.send({ method: "HEAD", path: "/greet/x", headers: ID });
    await client.send({ method: "OPTIONS", path: "/greet/x", headers: ID });
    const headers = { ...ID, ...JSON_TYPE };
    for (const body of ['{"a":[1,null]}', "{", '"text"', JSON.stringify("x".repeat(20_000))]) {
      await client.send({ method: "POST", path: "/echo", headers, body });
    }
    await client.send({ method: "PUT", path: "/nothing", headers: ID });
    await client.get("/%E0%A4%A", ID);
  },
  "single-page-app": async (client) => {
    await getAgain(client, "/");
    await getAgain(client, "/assets/app.js");
    await getAgain(client, "/assets/icon.svg");
    await getAgain(client, "/data/islands.yml");
    await client.get("/notes/gr%C3%BC%C3%9Fe%20von%20der%20insel.txt");
    await client.get("/notes/grüße von der insel.txt".replaceAll(" ", "%20"));
    for (const path of ["/about", "/islands/rangiroa", "/deep/er/still", "/index", "/index.html"]) {
      await client.get(path);
      await client.get(path, { "sec-fetch-mode": "navigate" });
    }
    for (const path of ["/home", "/source", "/atolls/a/b?c=d", "/visit/rangiroa", "//double"]) {
      await client.get(path);
    }
    for (const path of ["/_headers", "/_redirects", "/assets/", "/assets", "/%2e%2e/etc/passwd"]) {
      await client.get(path);
    }
    await client.send({ method: "HEAD", path: "/assets/style.css" });
    await client.send({ method: "POST", path: "/", body: "x" });
    await client.send({ method: "DELETE", path: "/assets/app.js" });
    await client.get("/assets/app.js", { range: "bytes=0-9" });
  },
  "wasm-image": async (client) => {
    await client.get("/");
    await client.get("/fractal.png");
    await client.get("/fractal.png?size=33&x=-0.745&y=0.113&span=0.02&depth=400");
    for (const query of ["size=0", "size=513", "size=1.5", "x=", "depth=many", "span=1e-10"]) {
      await client.get(`/fractal.png?${query}`);
    }
    await client.get("/nothing");
    await client.send({ method: "HEAD", path: "/fractal.png?size=1" });
  },
  "short-links": async (client) => {
    await client.get("/");
    await client.get("/docs");
    const put = (path: string, body: unknown) =>
      client.send({ method: "PUT", path, body: JSON.stringify(body) });
    await put("/docs", { url: "https://example.com/docs?a=b#c" });
    await put("/soon", { url: "http://example.com/", expiresInSeconds: 60 });
    await put("/soon", { url: "http://example.com/", expiresInSeconds: 59 });
    await put("/bad", { url: "javascript:alert(1)" });
    await put("/bad", { url: `https://example.com/${"x".repeat(2_000)}` });
    await put("/bad", []);
    await client.send({ method: "PUT", path: "/bad", body: "{" });
    await client.get("/docs");
    await client.send({ method: "HEAD", path: "/docs" });
    await client.get("/links.json");
    await client.send({ method: "DELETE", path: "/docs" });
    await client.get("/docs");
    await client.send({ method: "DELETE", path: "/docs" });
    await client.send({ method: "POST", path: "/docs", body: "" });
    await client.get("/two/segments");
  },
};

// Without it the app makes a random one for each request.
const ID = { "x-request-id": "differential" };

/** Gets a path, and gets it again as a browser that still has the first answer. */
async function getAgain(
  client: Client,
  path: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<void> {
  const first = await client.get(path, headers);
  await client.get(path, { ...headers, "if-none-match": first.headers["etag"] ?? "" });
}
