import { parsePicture } from "./picture.ts";
import { drawPng } from "./png.ts";

export default {
  async fetch(request): Promise<Response> {
    const url = new URL(request.url);
    if (url.pathname === "/")
      return new Response(PAGE, { headers: { "content-type": "text/html; charset=utf-8" } });
    if (url.pathname !== "/fractal.png")
      return Response.json({ error: `nothing at ${url.pathname}` }, { status: 404 });
    const picture = parsePicture(url.searchParams);
    if ("problem" in picture) return Response.json({ error: picture.problem }, { status: 400 });
    // The same address always means the same picture.
    const headers = {
      "content-type": "image/png",
      "cache-control": "public, max-age=31536000, immutable",
    };
    return new Response(await drawPng(picture), { headers });
  },
} satisfies ExportedHandler;

const PAGE = `<!doctype html>
<html lang="en">
  <meta charset="utf-8" />
  <title>Wasm image</title>
  <link rel="icon" href="data:," />
  <body style="margin: 0; background: #001e3c; color: #fff; font: 17px system-ui; text-align: center">
    <h1>Drawn at the edge</h1>
    <img src="/fractal.png?size=384" width="384" height="384" alt="The Mandelbrot set" />
    <img src="/fractal.png?size=384&x=-0.745&y=0.113&span=0.02&depth=400" width="384" height="384" alt="Its seahorse valley" />
  </body>
</html>
`;
