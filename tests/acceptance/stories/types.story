# wrangler types: https://developers.cloudflare.com/workers/wrangler/commands/#types
# It asks nobody: a project for Atoll has the types of any other.

file index.ts
| export default { fetch: (_request: Request, env: Env) => new Response(env.GREETING) };
file wrangler.json
| {
|   "name": "{worker}", "main": "index.ts", "compatibility_date": "2026-06-01",
|   "vars": { "GREETING": "hello" }, "kv_namespaces": [{ "binding": "WORDS", "id": "0123456789abcdef0123456789abcdef" }]
| }
$ types --include-runtime=false
> Generating project types...
> …
> GREETING: "hello";
> …
> ✨ Types written to worker-configuration.d.ts
> …
