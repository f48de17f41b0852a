# wrangler triggers deploy: https://developers.cloudflare.com/workers/wrangler/commands/#triggers
# Routes and schedules of the file, without a new version.

file index.js
| export default { fetch: (request) => new Response(new URL(request.url).pathname), scheduled() {} };
file wrangler.json
| { "name": "{worker}", "main": "index.js", "compatibility_date": "2026-06-01" }
$ deploy
> …
> Current Version ID: <uuid>

file wrangler.json
| {
|   "name": "{worker}", "main": "index.js", "compatibility_date": "2026-06-01", "workers_dev": true,
|   "routes": ["{worker}-route.localhost/only/*"], "triggers": { "crons": ["0 4 1 1 *"] }
| }
$ triggers deploy
> Deployed {worker} triggers (<number> sec)
4.86: > https://{worker}.localhost:{port}/#.workers.dev
4.164: > {worker}.localhost
> {worker}-route.localhost/only/*
> schedule: 0 4 1 1 *
! …
GET {worker}-route /only/x => 200 /only/x
GET {worker}-route /other => 404 <any>

# What is no schedule is refused by name.
file wrangler.json
| { "name": "{worker}", "main": "index.js", "compatibility_date": "2026-06-01", "triggers": { "crons": ["0 4 32 1 *"] } }
$ triggers deploy
exit 1
> …
! …
