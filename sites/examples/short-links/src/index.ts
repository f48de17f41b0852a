import { parseLink, parseSlug, type LinkMetadata } from "./link.ts";

interface Env {
  readonly LINKS: KVNamespace;
  readonly HOME_PAGE: string;
}

export default {
  async fetch(request, env): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname === "/") return Response.redirect(env.HOME_PAGE, 302);
    if (pathname === "/links.json") return list(env);
    const slug = parseSlug(pathname.slice(1));
    if (slug === undefined) return problem(404, `${pathname} is not a short link`);
    switch (request.method) {
      case "GET":
      case "HEAD":
        return follow(env, slug);
      case "PUT":
        return save(env, slug, request);
      case "DELETE":
        await env.LINKS.delete(slug);
        return new Response(null, { status: 204 });
      default:
        return problem(405, `${request.method} is not possible`, {
          allow: "GET, HEAD, PUT, DELETE",
        });
    }
  },
} satisfies ExportedHandler<Env>;

async function follow(env: Env, slug: string): Promise<Response> {
  const url = await env.LINKS.get(slug);
  if (url === null) return problem(404, `no link is called ${slug}`);
  // Not cached: a link may change or expire at any time.
  return new Response(null, {
    status: 302,
    headers: { location: url, "cache-control": "no-store" },
  });
}

async function save(env: Env, slug: string, request: Request): Promise<Response> {
  const link = parseLink(await request.json().catch(() => undefined));
  if ("problem" in link) return problem(400, link.problem);
  const metadata: LinkMetadata = { createdAt: new Date().toISOString() };
  await env.LINKS.put(slug, link.url, {
    metadata,
    ...(link.expiresInSeconds !== undefined && { expirationTtl: link.expiresInSeconds }),
  });
  return Response.json({ slug, ...link }, { status: 201 });
}

async function list(env: Env): Promise<Response> {
  const page = await env.LINKS.list<LinkMetadata>({ limit: 100 });
  const links = page.keys.map((key) => ({ slug: key.name, createdAt: key.metadata?.createdAt }));
  return Response.json({ links, complete: page.list_complete });
}

function problem(status: number, error: string, headers: Record<string, string> = {}): Response {
  return Response.json({ error }, { status, headers });
}
