# A binding without an id: https://developers.cloudflare.com/workers/wrangler/configuration/#automatic-provisioning
# A namespace is made for it once, and inherited by every later deploy.

file index.js
| export default { async fetch(request, env) { await env.MY_WORDS.put("k", "v"); return new Response(await env.MY_WORDS.get("k")); } };
file wrangler.json
| {
|   "name": "{worker}", "main": "index.js", "compatibility_date": "2026-06-01",
|   "kv_namespaces": [{ "binding": "MY_WORDS" }]
| }

$ deploy
> …
> 🌀 Creating new KV Namespace "{worker}-my-words"...
> …
> Current Version ID: <uuid>
GET {worker} / => 200 v

$ deploy
> Total Upload: <number> KiB / gzip: <number> KiB
> Worker Startup Time: <number> ms
> Your Worker has access to the following bindings:
> Binding<spaces>Resource
> env.MY_WORDS (inherited)<spaces>KV Namespace
> Uploaded {worker} (<number> sec)
> …
> Current Version ID: <uuid>
GET {worker} / => 200 v

$ kv namespace list
> …
> "title": "{worker}-my-words",
> …
