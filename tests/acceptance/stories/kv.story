# wrangler kv: https://developers.cloudflare.com/workers/wrangler/commands/#kv-namespace
# Bounds, expiry and thousands of keys are proved by tests/integration/wrangler-kv.test.ts.

file wrangler.json
| { "name": "{worker}" }

$ kv namespace create {worker}
> …
> 🌀 Creating namespace with title "{worker}"
> ✨ Success!
> …
> "id": "<hex:id>"
> …

$ kv namespace create {worker}
exit 1
> …
! ✘ [ERROR] <any>already exists<any>
! …

$ kv namespace list
> …
> "id": "{id}",
> "title": "{worker}",
> …

$ kv key put greeting "hello there" --namespace-id {id} --remote --metadata "{}"
> …
> Writing the value "hello there" to key "greeting" on namespace id: "{id}" <any>
$ kv key get greeting --namespace-id {id} --remote
> hello there
$ kv key list --namespace-id {id} --remote
> [
> {
> "name": "greeting",
> "metadata": {}
> }
> ]

file put.json
| [{ "key": "a", "value": "1" }, { "key": "b", "value": "2" }]
$ kv bulk put put.json --namespace-id {id} --remote
> …
> Success!
file get.json
| ["a", "none"]
$ kv bulk get get.json --namespace-id {id} --remote
> …
> "a": "1"<any>
> …
file delete.json
| ["a", "b"]
$ kv bulk delete delete.json --namespace-id {id} --remote --force
> …
> Success!

$ kv key delete greeting --namespace-id {id} --remote
> …
> Deleting the key "greeting" on namespace id: "{id}".
$ kv key get greeting --namespace-id {id} --remote
exit 1
> …
! …
$ kv key list --namespace-id {id} --remote
> []

$ kv namespace rename {worker} --new-name {worker}-2
> …
> ✨ Successfully renamed namespace <any>
$ kv namespace delete --namespace-id {id}
> …
> Deleting KV namespace id: "{id}".
> Deleted KV namespace id: "{id}".
$ kv key get greeting --namespace-id {id} --remote
exit 1
> …
! …
