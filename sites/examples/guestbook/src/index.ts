import { Hono } from "hono";
import { entryKey, parseSignature, type Entry } from "./entry.ts";

interface Bindings {
  readonly ENTRIES: KVNamespace;
}

// One page of a guestbook: also what a single bulk read of KV may ask for.
const SHOWN_MAX = 50;

const app = new Hono<{ Bindings: Bindings }>();

app.get("/api/entries", async (context) => {
  const { keys } = await context.env.ENTRIES.list({ prefix: "entry:", limit: SHOWN_MAX });
  const names = keys.map((key) => key.name);
  const found =
    names.length === 0 ? new Map() : await context.env.ENTRIES.get<Entry>(names, "json");
  // An entry deleted since it was listed is null.
  const entries = names.map((name) => found.get(name)).filter((entry) => entry != null);
  context.header("cache-control", "no-store");
  return context.json({ region: regionOf(context.req.raw), entries });
});

app.post("/api/entries", async (context) => {
  const isForm = (context.req.header("content-type") ?? "").startsWith(
    "application/x-www-form-urlencoded",
  );
  const body: unknown = isForm
    ? await context.req.parseBody()
    : await context.req.json().catch(() => undefined);
  const signature = parseSignature(body);
  if ("problem" in signature) return context.json({ error: signature.problem }, 400);

  const now = Date.now();
  const entry: Entry = {
    ...signature,
    region: regionOf(context.req.raw),
    at: new Date(now).toISOString(),
  };
  await context.env.ENTRIES.put(entryKey(now), JSON.stringify(entry));
  // The form of a browser without JavaScript wants its page back.
  return isForm ? context.redirect("/", 303) : context.json(entry, 201);
});

app.notFound((context) => context.json({ error: `nothing at ${context.req.path}` }, 404));

function regionOf(request: Request): string {
  const colo = request.cf?.colo;
  return typeof colo === "string" ? colo : "unknown";
}

export default app;
