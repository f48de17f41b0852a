import { startFullControlPlane, type Engine } from "./full-control-plane.ts";
import { RouteStore } from "../../control-plane/src/routes/store.ts";
import { sql } from "kysely";
const stack = new AsyncDisposableStack();
const engine = (process.argv[2] ?? "SQLite") as Engine;
const { controlPlane: { database }, tenants } = await startFullControlPlane(stack, engine);
const store = new RouteStore();
const hosts = ["tenant-5-3.example.com", "tenant-5-3-17.example.org"];
const compiled: any[] = [];
const logging = database.withPlugin({ transformQuery: ({node}) => node, transformResult: async ({result}) => result } as any);
async function time(name: string, f: () => Promise<unknown>) { const t: number[] = []; for (let i=0;i<60;i++){ const s=performance.now(); await f(); t.push(performance.now()-s);} t.sort((a,b)=>a-b); console.log(name, "p50", t[30].toFixed(2), "p95", t[57].toFixed(2)); }
await time("listNear 2 hosts", () => store.listNear(database, hosts));
await time("listNear 1 wildcard", () => store.listNear(database, ["*.tenant-5-3.example.com"]));
// explain
const orig = (database as any).executeQuery;
const q = (database as any);
const ex = q.getExecutor();
const seen: any[] = [];
const fake = new Proxy(database as any, { get(t, p) { if (p === "getExecutor") return () => ({ ...ex }); return t[p]; } });
import { overlappingHosts } from "../../control-plane/src/routes/route-pattern.ts";
const areas = hosts.map(overlappingHosts);
const query = database.selectFrom("routes").innerJoin("workers","workers.id","routes.worker_id").select(["routes.id","routes.pattern","workers.name"]).orderBy("routes.pattern").where((row: any) => row.or(areas.flatMap(({hosts: exact}) => exact.map((host: string) => row.and([row("routes.pattern", ">=", `${host}/`), row("routes.pattern","<",`${host}0`)])))));
const c = query.compile();
const explain = engine === "SQLite" ? "explain query plan " : "explain analyze ";
let text = c.sql; let i = 0;
const inlined = text.replace(/\?|\$\d+/g, () => `'${c.parameters[i++]}'`);
console.log((await (await import("kysely")).sql.raw(explain + inlined).execute(database)).rows.map((r: any) => r.detail ?? r["QUERY PLAN"]).join("\n").slice(0, 3000));
await stack.disposeAsync();
