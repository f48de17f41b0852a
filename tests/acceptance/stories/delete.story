# wrangler delete: https://developers.cloudflare.com/workers/wrangler/commands/#delete
everyday

file index.js
| export default { fetch: () => new Response("served") };
file wrangler.json
| { "name": "{worker}", "main": "index.js", "compatibility_date": "2026-06-01" }
$ deploy
> …
> Current Version ID: <uuid>

file caller.js
| export default { fetch: (request, env) => env.CALLED.fetch(request) };
file caller.json
| {
|   "name": "{worker}-caller", "main": "caller.js", "compatibility_date": "2026-06-01",
|   "services": [{ "binding": "CALLED", "service": "{worker}" }]
| }
$ deploy --config caller.json
> …
> Current Version ID: <uuid>
GET {worker}-caller / => 200 served

# Others call it: wrangler says so, and takes the absence of a terminal for a yes.
$ delete
> ? Are you sure you want to delete {worker}? This action cannot be undone.
> 🤖 Using fallback value in non-interactive context: yes
> ? {worker} is currently in use by other Workers:
> - Worker {worker}-caller (production) uses this Worker as a Service Binding
> You can still delete this Worker, but doing so WILL BREAK the Workers that depend on it. This will cause unexpected failures, and cannot be undone.
> Are you sure you want to continue?
> 🤖 Using fallback value in non-interactive context: yes
> Successfully deleted {worker}
GET {worker} / => 404 <any>
# Who called it runs on; its calls fail.
GET {worker}-caller / => 500 <any>

$ delete --config caller.json --force
> Successfully deleted {worker}-caller
GET {worker}-caller / => 404 <any>

$ delete --force
exit 1
! ✘ [ERROR] A request to the Cloudflare API (/accounts/{account}/workers/services/{worker}) failed.
! This Worker does not exist on your account: '{worker}' [code: 10007]
! error: worker_not_found, request: <uuid>
! If you think this is a bug, please open an issue at: https://github.com/cloudflare/workers-sdk/issues/new/choose
