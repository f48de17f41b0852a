# wrangler deploy: https://developers.cloudflare.com/workers/wrangler/commands/#deploy
everyday

file index.js
| export default { fetch: (request, env) => new Response(`${env.GREETING} ${env.KEPT} ${env.META?.tag}`) };
file wrangler.json
| {
|   "name": "{worker}", "main": "index.js", "compatibility_date": "2026-06-01",
|   "vars": { "GREETING": "hello" }, "version_metadata": { "binding": "META" }
| }

# --dry-run bundles and sends nothing.
$ deploy --dry-run
> Total Upload: <number> KiB / gzip: <number> KiB
> Your Worker has access to the following bindings:
> Binding<spaces>Resource
> env.META<spaces>Worker Version Metadata
> env.GREETING ("hello")<spaces>Environment Variable
> --dry-run: exiting now.
GET {worker} / => 404 <any>

# --var adds to the variables of the file, or replaces them; --tag is the version's.
$ deploy --var GREETING:hi --var KEPT:kept --tag v1 --message "the first"
> Total Upload: <number> KiB / gzip: <number> KiB
> Worker Startup Time: <number> ms
> Your Worker has access to the following bindings:
> Binding<spaces>Resource
> env.META<spaces>Worker Version Metadata
> env.GREETING ("(hidden)")<spaces>Environment Variable
> env.KEPT ("(hidden)")<spaces>Environment Variable
> Uploaded {worker} (<number> sec)
> Deployed {worker} triggers (<number> sec)
# 4.86 can print no other host than one of workers.dev: the fragment keeps its users away from there.
4.86: > https://{worker}.localhost:{port}/#.workers.dev
4.164: > {worker}.localhost
> Current Version ID: <uuid:first>
GET {worker} / => 200 hi kept v1

# --keep-vars keeps what was set elsewhere, and the file's own win.
$ deploy --keep-vars
> …
> env.GREETING ("hello")<spaces>Environment Variable
> Uploaded {worker} (<number> sec)
> …
> Current Version ID: <uuid>
GET {worker} / => 200 hello kept

# Without it they are gone.
$ deploy
> …
> Current Version ID: <uuid>
GET {worker} / => 200 hello undefined

# --name is another worker.
$ deploy --name {worker}-other
> …
> Uploaded {worker}-other (<number> sec)
> …
> Current Version ID: <uuid>
GET {worker}-other / => 200 hello undefined

# What can't be a name is refused, and why.
$ deploy --name UPPER!
exit 1
> …
! ✘ [ERROR] A request to the Cloudflare API (/accounts/{account}/workers/services/UPPER!) failed.
! 'UPPER!' cannot be the name of a worker: a worker's name has 1 to 63 characters of a-z, 0-9, '-' and '_', and starts and ends with a letter or digit [code: 10016]
! error: invalid_worker_name, request: <uuid>
! If you think this is a bug, please open an issue at: https://github.com/cloudflare/workers-sdk/issues/new/choose
