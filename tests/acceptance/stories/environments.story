# Environments: https://developers.cloudflare.com/workers/wrangler/environments/
# Each is a worker of its own, <name>-<environment>, with variables of its own.

file index.js
| export default { fetch: (request, env) => new Response(`${env.STAGE} ${env.ONLY}`) };
file wrangler.json
| {
|   "name": "{worker}", "main": "index.js", "compatibility_date": "2026-06-01",
|   "vars": { "STAGE": "top", "ONLY": "here" },
|   "env": { "staging": { "vars": { "STAGE": "staging", "ONLY": "there" } } }
| }

$ deploy --env staging
> …
> Uploaded {worker}-staging (<number> sec)
> …
> Current Version ID: <uuid>
GET {worker}-staging / => 200 staging there
GET {worker} / => 404 <any>

# The top level is asked for by an empty name: no warning.
$ deploy --env=
> …
> Uploaded {worker} (<number> sec)
> …
> Current Version ID: <uuid>
GET {worker} / => 200 top here

$ secret put KEY --env staging
< hush
> 🌀 Creating the secret for the Worker "{worker}-staging"
> ✨ Success! Uploaded secret KEY
$ secret list --env staging
> [
> {
> "name": "KEY",
> "type": "secret_text"
> }
> ]
$ secret list --env=
> []

# One that the file does not have is refused by wrangler.
$ deploy --env none
exit 1
! …

$ delete --env staging --force
> Successfully deleted {worker}-staging
GET {worker}-staging / => 404 <any>
GET {worker} / => 200 top here
