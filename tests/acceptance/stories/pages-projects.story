# wrangler pages project, deployment and secret: https://developers.cloudflare.com/workers/wrangler/commands/#pages

$ pages project create {worker} --production-branch main --compatibility-date 2026-05-01
> ✨ Successfully created the '{worker}' project. <any>
> …

$ pages project create {worker} --production-branch main
exit 1
! ✘ [ERROR] A request to the Cloudflare API (/accounts/{account}/pages/projects) failed.
! A project with the name '{worker}' already exists: choose a different one [code: 8000002]
! error: pages_project_name_taken, request: <uuid>
! If you think this is a bug, please open an issue at: https://github.com/cloudflare/workers-sdk/issues/new/choose

$ pages project list
> …
> │ {worker}<spaces>│ {worker}.localhost:{port}<spaces>│ No<spaces>│ <ago><spaces>│
> …

# Advanced mode: one worker for everything, with the files beside it.
file public/_worker.js
| export default { async fetch(request, env) {
|   const { pathname } = new URL(request.url);
|   if (pathname === "/secret") return new Response(`${env.A} ${env.B}`);
|   const file = await env.ASSETS.fetch(request);
|   return new Response(`${file.status} ${await file.text()}`);
| } };
file public/index.html
| app
file secrets.json
| { "A": "one", "B": "two" }
$ pages secret bulk secrets.json --project-name {worker}
> 🌀 Creating the secrets for the Pages project "{worker}" (production)
> Finished processing secrets file:
> ✨ 2 secrets successfully uploaded
$ pages secret delete B --project-name {worker}
> ? Are you sure you want to permanently delete the secret B on the Pages project {worker} (production)?
> 🤖 Using fallback value in non-interactive context: yes
> 🌀 Deleting the secret B on the Pages project {worker} (production)
> ✨ Success! Deleted secret B
$ pages secret list --project-name {worker}
> The "production" environment of your Pages project "{worker}" has access to the following secrets:
> - A: Value Encrypted
$ pages secret list --project-name {worker} --env preview
> The "preview" environment of your Pages project "{worker}" has access to the following secrets:

$ pages deploy public --project-name {worker} --branch main
> …
> ✨ Uploading Worker bundle
> 🌎 Deploying...
> ✨ Deployment complete! Take a peek over at http://<any>-{worker}.localhost:{port}
! …
GET {worker} /secret => 200 one undefined
# Without a 404.html it is an application of a single page.
GET {worker} /any/where => 200 200 app

$ pages deployment list --project-name {worker}
> …
> │ <uuid:first> │ Production<spaces>│ main<spaces>│<any>│ http://<any>-{worker}.localhost:{port} │ <ago><spaces>│ <any> │
> …

# The one that serves stays; the one before it may go.
$ pages deployment delete {first} --project-name {worker} --force
exit 1
> …
! …
! You cannot delete the active production deployment: deploy another one first [code: 8000034]
! …
file public/index.html
| app 2
$ pages deploy public --project-name {worker} --branch main
> …
> ✨ Deployment complete! <any>
! …
$ pages deployment delete {first} --project-name {worker} --force
> Deleting deployment {first}...
> Successfully deleted deployment {first}

$ pages deploy public --project-name {worker}-none --branch main
exit 1
> …
! …

$ pages project delete {worker} --yes
> Deleting {worker}
> Successfully deleted {worker}
GET {worker} / => 404 <any>
