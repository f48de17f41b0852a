# secrets.required: https://developers.cloudflare.com/workers/wrangler/configuration/#secrets
# A deploy without them is refused, with their names.

file index.js
| export default { fetch: (request, env) => new Response(env.NEEDED) };
file wrangler.json
| {
|   "name": "{worker}", "main": "index.js", "compatibility_date": "2026-06-01",
|   "secrets": { "required": ["NEEDED"] }
| }

$ deploy
exit 1
> …
! …
! ✘ [ERROR] The following required secrets have not been set: NEEDED
! …

$ secret put NEEDED
< here
> …
> ✨ Success! Uploaded secret NEEDED
! …
$ deploy
> …
> Current Version ID: <uuid>
! …
GET {worker} / => 200 here
