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
> …
> ✨ Success! Created version <uuid:third> with 1 secret<any>
> …
! …
GET {worker} / => 200 undefined undefined

# Each is made of the one before it.
$ versions deploy {third}@100 -y
> …
> ╰  SUCCESS  Deployed {worker} version {third} at 100% <any>
GET {worker} / => 200 one two

# In which order nobody says; that values are not shown is proved for all of the API.
$ versions secret list
> -- Version {third} (100%) secrets --
> Secret Name: <any>
> Secret Name: <any>

$ versions secret delete A
> …
> ✨ Success! Created version <uuid:fourth> with deleted secret A.
> …
$ versions deploy {fourth}@100 -y
> …
> ╰  SUCCESS  Deployed {worker} version {fourth} at 100% <any>
GET {worker} / => 200 undefined two
