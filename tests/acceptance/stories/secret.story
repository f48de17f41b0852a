# wrangler secret: https://developers.cloudflare.com/workers/wrangler/commands/#secret
everyday

file index.js
| export default { fetch: (request, env) => new Response(`${env.A} ${env.B} ${env.PLAIN}`) };
file wrangler.json
| { "name": "{worker}", "main": "index.js", "compatibility_date": "2026-06-01", "vars": { "PLAIN": "p" } }

# For a worker that does not exist a draft is made, to which the secret belongs.
$ secret put A
< one
> 🌀 Creating the secret for the Worker "{worker}"
> ? There doesn't seem to be a Worker called "{worker}". Do you want to create a new Worker with that name and add secrets to it?
> 🤖 Using fallback value in non-interactive context: yes
> 🌀 Creating new Worker "{worker}"...
> ✨ Success! Uploaded secret A

# Deploys never delete secrets.
$ deploy
> …
> Current Version ID: <uuid>
GET {worker} / => 200 one undefined p

file secrets.json
| { "A": "two", "B": "three" }
$ secret bulk secrets.json
4.86: > 🌀 Creating the secrets for the Worker "{worker}"
4.164: > 🌀 Processing the secrets for the Worker "{worker}"
> ✨ Successfully created secret for key: A
> ✨ Successfully created secret for key: B
> Finished processing secrets file:
4.86: > ✨ 2 secrets successfully uploaded
4.164: > ✨ 2 secrets successfully created
GET {worker} / => 200 two three p

# Values are shown to nobody.
$ secret list
> [
> {
> "name": "A",
> "type": "secret_text"
> },
> {
> "name": "B",
> "type": "secret_text"
> }
> ]

$ secret delete A
> ? Are you sure you want to permanently delete the secret A on the Worker {worker}?
> 🤖 Using fallback value in non-interactive context: yes
> 🌀 Deleting the secret A on the Worker {worker}
> ✨ Success! Deleted secret A
GET {worker} / => 200 undefined three p

# A name is a secret's or a variable's.
$ secret put PLAIN
< x
exit 1
> 🌀 Creating the secret for the Worker "{worker}"
! ✘ [ERROR] A request to the Cloudflare API (/accounts/{account}/workers/scripts/{worker}/secrets) failed.
! Binding name 'PLAIN' already in use by a binding of type 'plain_text'. Please use a different name and try again. [code: 10053]
! error: binding_name_taken, request: <uuid>
! If you think this is a bug, please open an issue at: https://github.com/cloudflare/workers-sdk/issues/new/choose
