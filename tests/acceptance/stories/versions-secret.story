# wrangler versions secret: https://developers.cloudflare.com/workers/wrangler/commands/#versions-secret-put
# Each makes a version that serves nobody until it is deployed.

file index.js
| export default { fetch: (request, env) => new Response(`${env.A} ${env.B}`) };
file wrangler.json
| { "name": "{worker}", "main": "index.js", "compatibility_date": "2026-06-01" }

$ deploy
> …
> Current Version ID: <uuid:first>

$ versions secret put A --message keyed --tag v2
< one
> 🌀 Creating the secret for the Worker "{worker}"
> ✨ Success! Created version <uuid:second> with secret A.
> ➡️  To deploy this version with secret A to production traffic use the command "wrangler versions deploy".
GET {worker} / => 200 undefined undefined

# What waits to be deployed would be deployed with it.
$ secret put B
< two
exit 1
> 🌀 Creating the secret for the Worker "{worker}"
! ✘ [ERROR] Secret edit failed. You attempted to modify a secret, but the latest version of your Worker isn't currently deployed.
! …

file more.json
| { "B": "two" }
$ versions secret bulk more.json
4.86: > 🌀 Creating the secrets for the Worker "{worker}"
4.164: > 🌀 Processing the secrets for the Worker "{worker}"
> ✨ Successfully created secret for key: B
> …
! …
$ versions deploy --version-tag v2 -y
exit 1
> …
! …
$ versions secret list
> …
