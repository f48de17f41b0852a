# wrangler tail: https://developers.cloudflare.com/workers/wrangler/commands/#tail
# What an event holds: https://developers.cloudflare.com/workers/observability/logs/tail-workers/
# All nodes, floods, restarts and what a node is left with are proved by tests/integration/tail.test.ts.

file index.js
| export default {
|   async fetch(request) {
|     const { pathname } = new URL(request.url);
|     if (pathname === "/throw") throw new RangeError("out of it");
|     console.log("saw", pathname, { deep: [1, true] });
|     if (pathname === "/warn") console.warn("be careful");
|     return new Response("served");
|   },
| };
file wrangler.json
| { "name": "{worker}", "main": "index.js", "compatibility_date": "2026-06-01" }

# There is nothing to watch yet.
$ tail --format pretty
exit 1
! ✘ [ERROR] A request to the Cloudflare API (/accounts/{account}/workers/scripts/{worker}/tails) failed.
! This Worker does not exist on your account: '{worker}' [code: 10007]
! error: worker_not_found, request: <uuid>
! If you think this is a bug, please open an issue at: https://github.com/cloudflare/workers-sdk/issues/new/choose

$ deploy
> …
> Current Version ID: <uuid:version>
GET {worker} / => 200 served

# --format pretty: a line for each request, what it logged with its level, and what it threw as an error.
$ tail --format pretty
> Successfully created tail, expires at <any>
> Connected to {worker}, waiting for logs...
while GET {worker} /first?word=a => 200 served
> GET http://{worker}.localhost:<number>/first?word=a - Ok @ <any>
> (log) saw /first { deep: [ 1, true ] }
while POST {worker} /warn => 200 served
> POST http://{worker}.localhost:<number>/warn - Ok @ <any>
> (log) saw /warn { deep: [ 1, true ] }
> (warn) be careful
while GET {worker} /throw => 500 <any>
> GET http://{worker}.localhost:<number>/throw - Exception Thrown @ <any>
! ✘ [ERROR] RangeError: out of it
! at <any>
! …
^C
4.164: > Stopping tail...

# --format json: an object for each, with all that there is to know of it, and nothing else.
$ tail --format json
while GET {worker} /first x-colour:green => 200 served
> {
> "scriptName": "{worker}",
> "scriptVersion": {
> "id": "{version}"
> },
> "outcome": "ok",
> "eventTimestamp": <number>,
> "event": {
> "request": {
> "url": "http://{worker}.localhost:<number>/first",
> "method": "GET",
> "headers": {
> "cf-connecting-ip": "127.0.0.1",
> …
> "x-colour": "green",
> …
> "cf": {
> "colo": "FRA",
> …
> "response": {
> "status": 200
> }
> },
> "logs": [
> {
> "message": [
> "saw",
> "/first",
> {
> "deep": [
> 1,
> true
> ]
> }
> ],
> "level": "log",
> "timestamp": <number>
> }
> ],
> "exceptions": [],
> …
> "truncated": false
> }
while GET {worker} /throw => 500 <any>
> {
> …
> "outcome": "exception",
> …
> "url": "http://{worker}.localhost:<number>/throw",
> …
> "logs": [],
> "exceptions": [
> {
> "stack": " at Object.fetch (index.js:<number>:<number>)",
> "name": "RangeError",
> "message": "out of it",
> "timestamp": <number>
> }
> ],
> …
> "truncated": false
> }
^C

# --status, of one kind or more.
$ tail --format pretty --status error --status canceled
> Successfully created tail, expires at <any>
> Connected to {worker}, waiting for logs...
while GET {worker} /fine => 200 served
while GET {worker} /throw => 500 <any>
> GET http://{worker}.localhost:<number>/throw - Exception Thrown @ <any>
! ✘ [ERROR] RangeError: out of it
! at <any>
! …
^C
4.164: > Stopping tail...

# --method, and --version-id.
$ tail --format pretty --method PUT --method DELETE --version-id {version}
> Successfully created tail, expires at <any>
> Connected to {worker}, waiting for logs...
while GET {worker} /a => 200 served
while POST {worker} /b => 200 served
while DELETE {worker} /c => 200 served
> DELETE http://{worker}.localhost:<number>/c - Ok @ <any>
> (log) saw /c { deep: [ 1, true ] }
^C
4.164: > Stopping tail...

# --search, in what is logged.
$ tail --format pretty --search careful
> Successfully created tail, expires at <any>
> Connected to {worker}, waiting for logs...
while GET {worker} /careful => 200 served
while GET {worker} /a => 200 served
while GET {worker} /warn => 200 served
> GET http://{worker}.localhost:<number>/careful - Ok @ <any>
> (log) saw /careful { deep: [ 1, true ] }
> GET http://{worker}.localhost:<number>/warn - Ok @ <any>
> (log) saw /warn { deep: [ 1, true ] }
> (warn) be careful
^C
4.164: > Stopping tail...

# --header, by its name and its value, and nearly all that is left of --sampling-rate.
$ tail --format pretty --header x-colour:green --sampling-rate 0.999999
> Successfully created tail, expires at <any>
> Connected to {worker}, waiting for logs...
while GET {worker} /none => 200 served
while GET {worker} /red x-colour:red => 200 served
while GET {worker} /green X-Colour:green => 200 served
> GET http://{worker}.localhost:<number>/green - Ok @ <any>
> (log) saw /green { deep: [ 1, true ] }
^C
4.164: > Stopping tail...

# --ip: self is who asks.
$ tail {worker} --format pretty --ip self --ip 192.0.2.1
> Successfully created tail, expires at <any>
> Connected to {worker}, waiting for logs...
while GET {worker} /mine => 200 served
> GET http://{worker}.localhost:<number>/mine - Ok @ <any>
> (log) saw /mine { deep: [ 1, true ] }
^C
4.164: > Stopping tail...

# All of them are no share.
$ tail --sampling-rate 1
exit 1
! ✘ [ERROR] A sampling rate must be between 0 and 1 <any>
! For example, a sampling rate of 0.25 means 25% of events will be logged.
