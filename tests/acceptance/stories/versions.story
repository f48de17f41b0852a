# wrangler versions, deployments and rollback: https://developers.cloudflare.com/workers/wrangler/commands/#versions
# Shares, previews and sticky clients are proved by tests/integration/versions.test.ts.

file index.js
| export default { fetch: (request, env) => new Response(env.TEXT) };
file wrangler.json
| { "name": "{worker}", "main": "index.js", "compatibility_date": "2026-06-01", "vars": { "TEXT": "one" } }

# There is nothing to upload a version of.
$ versions upload
exit 1
> …
! …

$ versions list
exit 1
! ✘ [ERROR] A request to the Cloudflare API (/accounts/{account}/workers/scripts/{worker}/versions?deployable=true) failed.
! This Worker does not exist on your account: '{worker}' [code: 10007]
! error: worker_not_found, request: <uuid>
! If you think this is a bug, please open an issue at: https://github.com/cloudflare/workers-sdk/issues/new/choose

$ deploy --tag v1 --message "the first"
> …
> Current Version ID: <uuid:first>

$ versions upload --var TEXT:two --tag v2 --message "the second" --preview-alias next
> Total Upload: <number> KiB / gzip: <number> KiB
> Worker Startup Time: <number> ms
> Your Worker has access to the following bindings:
> Binding<spaces>Resource
> env.TEXT ("(hidden)")<spaces>Environment Variable
> Uploaded {worker} (<number> sec)
> Worker Version ID: <uuid:second>
> Version Preview URL: https://<any>{worker}.localhost:{port}<any>
> Version Preview Alias URL: https://next-{worker}.localhost:{port}<any>
> To deploy this version to production traffic use the command wrangler versions deploy
> Changes to non-versioned settings (config properties 'logpush' or 'tail_consumers') take effect after your next deployment using the command wrangler versions deploy
> Changes to triggers (routes, custom domains, cron schedules, etc) must be applied with the command wrangler triggers deploy
GET {worker} / => 200 one
GET next-{worker} / => 200 two

$ versions list
> Version ID:  {first}
> Created:     <time>
> Author:      <any>
> Source:      Upload
> Tag:         v1
> Message:     the first
> Version ID:  {second}
> Created:     <time>
> Author:      <any>
> Source:      Upload
> Tag:         v2
> Message:     the second

$ versions view {second}
> Version ID:  {second}
> Created:     <time>
> Author:      <any>
> Source:      Upload
> Tag:         v2
> Message:     the second
> …
> Compatibility Date:  2026-06-01
> …
> env.TEXT ("two")<spaces>Environment Variable

$ versions deploy {second}@100 -y --message promoted
> …
> ╰  SUCCESS  Deployed {worker} version {second} at 100% <any>
> …
GET {worker} / => 200 two

$ deployments status
> Created:     <time>
> Author:      <any>
> Source:      Upload
> Message:     promoted
> Version(s):  (100%) {second}
> Created:  <time>
> Tag:  v2
> Message:  the second

$ rollback -y --message "not yet"
> …
> ╰  SUCCESS  Worker Version {first} has been deployed to 100% of traffic.
> Current Version ID: {first}
GET {worker} / => 200 one

# The newest comes last.
$ deployments list
> …
> Version(s):  (100%) {first}
> …
> Version(s):  (100%) {second}
> …
> Message:     not yet
> Version(s):  (100%) {first}
> …

$ versions view 00000000-0000-4000-8000-000000000000
exit 1
! ✘ [ERROR] A request to the Cloudflare API (/accounts/{account}/workers/scripts/{worker}/versions/00000000-0000-4000-8000-000000000000) failed.
! The worker '{worker}' has no version '00000000-0000-4000-8000-000000000000' [code: 10222]
! error: version_not_found, request: <uuid>
! If you think this is a bug, please open an issue at: https://github.com/cloudflare/workers-sdk/issues/new/choose
