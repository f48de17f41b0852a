# .env: https://developers.cloudflare.com/workers/wrangler/system-environment-variables/
# A project's own file may say where Atoll is and who asks.

file .env
| CLOUDFLARE_API_BASE_URL={api}/client/v4
| CLOUDFLARE_API_TOKEN={token}
| CLOUDFLARE_ACCOUNT_ID={account}
file index.js
| export default { fetch: () => new Response("by its own file") };
file wrangler.json
| { "name": "{worker}", "main": "index.js", "compatibility_date": "2026-06-01" }

$ deploy
unset CLOUDFLARE_API_BASE_URL CLOUDFLARE_API_TOKEN CLOUDFLARE_ACCOUNT_ID
> …
> Current Version ID: <uuid>
! …
GET {worker} / => 200 by its own file

# Without a word of the account it is found: a token has one.
file .env
| CLOUDFLARE_API_BASE_URL={api}/client/v4
| CLOUDFLARE_API_TOKEN={token}
$ secret list
unset CLOUDFLARE_API_BASE_URL CLOUDFLARE_API_TOKEN CLOUDFLARE_ACCOUNT_ID
> []
! …

# A wrong token is told from everything else.
file .env
| CLOUDFLARE_API_BASE_URL={api}/client/v4
| CLOUDFLARE_API_TOKEN=wrong
| CLOUDFLARE_ACCOUNT_ID={account}
$ secret list
unset CLOUDFLARE_API_BASE_URL CLOUDFLARE_API_TOKEN CLOUDFLARE_ACCOUNT_ID
exit 1
> …
! …
! Authentication error: the API token is missing or wrong, or it has expired [code: 10000]
! …
