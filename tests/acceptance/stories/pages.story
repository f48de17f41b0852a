# wrangler pages: https://developers.cloudflare.com/workers/wrangler/commands/#pages
everyday

$ pages project create {worker} --production-branch main
> ✨ Successfully created the '{worker}' project. It will be available at https://{worker}.localhost:{port}/ once you create your first deployment.
> To deploy a folder of assets, run 'wrangler pages deploy [directory]'.
GET {worker} / => 404 Nothing is here yet: this Pages project has no deployment.

# Functions, with the routes that wrangler makes of them; everything else is a file. What the files hold is this story's
# alone: those that Atoll has already, of another project as well, are not uploaded again.
file functions/api/[word].js
| export const onRequest = ({ env, params }) => new Response(`${params.word} ${env.CF_PAGES_BRANCH} ${env.S}`);
file public/index.html
| <h1>home {worker}</h1>
file public/about.html
| <h1>about {worker}</h1>
file public/404.html
| <h1>not here {worker}</h1>
file public/_redirects
| /old /about 301
file public/_headers
| /about
|   X-Note: noted

$ pages secret put S --project-name {worker}
< hush
> 🌀 Creating the secret for the Pages project "{worker}" (production)
> ✨ Success! Uploaded secret S

$ pages deploy public --project-name {worker} --branch main
> ✨ Compiled Worker successfully
> Uploading... (0/3)
> …
> Uploading... (3/3)
> ✨ Success! Uploaded 3 files (<number> sec)
> ✨ Uploading _headers
> ✨ Uploading _redirects
> ✨ Uploading Functions bundle
> 🌎 Deploying...
> ✨ Deployment complete! Take a peek over at http://<any:label>-{worker}.localhost:{port}
GET {worker} / => 200 <h1>home {worker}</h1>
GET {worker} /about => 200 <h1>about {worker}</h1>
GET {worker} /nowhere => 404 <h1>not here {worker}</h1>
GET {worker} /api/a => 200 a main hush
GET {label}-{worker} /api/a => 200 a main hush

# Another branch is a preview: at a host of its own, and of its branch; with secrets of its own.
file public/index.html
| <h1>next {worker}</h1>
$ pages deploy public --project-name {worker} --branch Feature/Next
> ✨ Compiled Worker successfully
> Uploading... (2/3)
> Uploading... (3/3)
> ✨ Success! Uploaded 1 files (2 already uploaded) (<number> sec)
> ✨ Uploading _headers
> ✨ Uploading _redirects
> ✨ Uploading Functions bundle
> 🌎 Deploying...
> ✨ Deployment complete! Take a peek over at http://<any>-{worker}.localhost:{port}
# Only what ends like Cloudflare's own hosts is printed: the fragment sees to it.
> ✨ Deployment alias URL: http://feature-next-{worker}.localhost:{port}/#.pages.dev
GET {worker} / => 200 <h1>home {worker}</h1>
GET feature-next-{worker} / => 200 <h1>next {worker}</h1>
GET feature-next-{worker} /api/a => 200 a Feature/Next undefined

# A worker is not deployed over it.
file index.js
| export default { fetch: () => new Response("worker") };
$ deploy index.js --name {worker} --compatibility-date 2026-06-01
exit 1
> …
! …
! '{worker}' is a Pages project: deploy it with 'wrangler pages deploy', set its secrets with 'wrangler pages secret', or choose another name [code: 10040]
! …
