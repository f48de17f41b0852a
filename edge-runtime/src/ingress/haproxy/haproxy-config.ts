import type { Region } from "@atoll/control-plane/contract";
import { HEADERS } from "../../config/cell-interface.ts";
import { LIMITS } from "../../limits.ts";
import { addHeader, quote, section } from "./config-text.ts";
import { LOST_HEADER } from "../builtin/client-headers.ts";
import { chooseVersion } from "./choose-version.ts";
import { MANY, MAPS, PATHS, QUOTA, VERSIONS, WEB_SOCKETS } from "./haproxy-paths.ts";
import { leastBusy } from "./least-busy.ts";
import { refuseMany } from "./refuse-many.ts";
import { NEAR_LINES, ODDITIES, ORDINARY, STRIPPED } from "./request-kinds.ts";
import { LINE_FORMAT, USAGE_RULES } from "./request-line.ts";
import { PAGES, pageArguments } from "./static-pages.ts";

export interface HaproxyConfigOptions {
  readonly address: string;
  readonly port: number;
  readonly region: Region;
  /** Who the worker process is, with its directory as its root; as the agent is when absent. */
  readonly user: { readonly userId: number; readonly groupId: number } | undefined;
  readonly threads: number;
  /** The processors that they run on, one for each; where the kernel puts them when there are none. */
  readonly cores: ReadonlyArray<number>;
  readonly connectionsMax: number;
  readonly requestHeadMs: number;
  readonly drainMs: number;
  /**
   * Backends that cells are spread over. HAProxy finds a server by walking through its backend, so each
   * should hold few.
   */
  readonly cellBackends: number;
  /** Cells of one worker that requests are balanced over. */
  readonly workerCellsMax: number;
  /** WebSockets of one cell. */
  readonly webSocketsMax: number;
  /** How long a cell may send nothing in the midst of an answer. */
  readonly answerIdleMs: number;
}

// What is added to a request's head finds room beside whatever a client has sent.
const ADDED_BYTES = LIMITS.callerHeadersBytesMax;
// Inside, a line takes four bytes more than on the wire; the first line, and what ends at the connection, too.
const LINES_BYTES = 4 * LIMITS.headerLinesMax + 1024;
// The head of a request fits, and that of an answer. Every request is copied as a whole buffer, so that it
// can be repeated: 16 KiB more would cost as much as all the headers that are added.
const BUFFER_BYTES =
  Math.max(LIMITS.requestHeadBytesMax, LIMITS.cellHeadBytesMax) + ADDED_BYTES + LINES_BYTES;

/** The whole configuration. Nothing of it changes while the node runs: that is what the maps are for. */
export function haproxyConfig(options: HaproxyConfigOptions): string {
  return [
    globalSection(options),
    usageSection(),
    defaultsSection(options),
    frontendSection(options),
    lostSection(options),
    activatorSection(),
    cellSections(options),
    quotaSection(),
  ].join("\n");
}

function globalSection({ user, ...options }: HaproxyConfigOptions): string {
  return section("global", [
    "master-worker",
    `stats socket unix@${PATHS.admin} mode 600 level admin expose-fd listeners`,
    "stats timeout 24d",
    `lua-load ${PATHS.lostRequests}`,
    `nbthread ${options.threads}`,
    ...coresOfThreads(options),
    `maxconn ${options.connectionsMax}`,
    "no strict-limits",
    `hard-stop-after ${options.drainMs}ms`,
    ...(user === undefined ? [] : [`uid ${user.userId}`, `gid ${user.groupId}`, "chroot ."]),
    `tune.bufsize ${BUFFER_BYTES}`,
    `tune.maxrewrite ${ADDED_BYTES}`,
    // Idle clients hold most descriptors; without this they would cost the cells their kept connections.
    "tune.pool-high-fd-ratio 95",
    "tune.pool-low-fd-ratio 90",
    `tune.http.maxhdr ${LIMITS.headerLinesMax + NEAR_LINES}`,
  ]);
}

/** A thread that stays where it is finds its memory in the processor's caches, and moves no cell away from its own. */
function coresOfThreads({ threads, cores }: Pick<HaproxyConfigOptions, "threads" | "cores">) {
  return cores.length === 0 ? [] : [`cpu-map auto:1/1-${threads} ${cores.join(" ")}`];
}

/** Holds the lines of requests until the agent reads them. */
function usageSection(): string {
  return section("ring usage", [
    "format raw",
    `maxlen ${LIMITS.requestLineBytesMax}`,
    `size ${LIMITS.requestLogBytesMax}`,
    "timeout connect 5s",
    "timeout server 24d",
    `server agent unix@${PATHS.usage}`,
  ]);
}

function defaultsSection(options: HaproxyConfigOptions): string {
  return section("defaults all", [
    "mode http",
    "timeout connect 5s",
    `timeout http-request ${options.requestHeadMs}ms`,
    `timeout http-keep-alive ${LIMITS.clientIdleMs}ms`,
    `timeout client ${LIMITS.requestBodyIdleMs}ms`,
    // A worker may think, and stream, for as long as its client stays and something of it is heard.
    `timeout server ${options.answerIdleMs}ms`,
    "timeout tunnel 24d",
    // A client that ended its sending side is gone: the cell hears of it.
    "option abortonclose",
    "option http-no-delay",
    "http-reuse always",
    ...[400, 413, 422, 501].map((status) => `errorfile ${status} ${PAGES.badRequest}`),
    `errorfile 408 ${PAGES.requestTimeout}`,
    `http-error ${pageArguments("cellLost", "cell_lost")}`,
    `http-error ${pageArguments("answerTimeout", "answer_timeout")}`,
  ]);
}

function frontendSection({ region, address, port }: HaproxyConfigOptions): string {
  return section("frontend world from all", [
    `bind ${address}:${port}`,
    "log ring@usage format raw local0",
    `log-format ${quote(LINE_FORMAT)}`,
    "option dontlognull",
    `http-request set-var-fmt(txn.ray) ${quote(`%[uuid,xxh64,hex,lower]-${region}`)}`,
    ...ORDINARY,
    ...USAGE_RULES.request,
    ...ODDITIES,
    "http-request set-var(txn.switching) bool(true) if switching",
    "http-request set-var(txn.expecting) bool(true) if { req.hdr(expect) -m found }",
    `http-request del-header ${quote(`^(${STRIPPED})$`)} -m reg`,
    ...ROUTING,
    ...CONTINUE,
    // The built-in ingress tells workers of their callers itself, by what it is told of them.
    ...CALLER.map((header) => `${addHeader(header)} if !{ var(txn.cell) -m found }`),
    // It counts what has no cell here.
    "http-request set-log-level silent if !{ var(txn.cell) -m found }",
    "use_backend %[var(txn.cell),field(1,.)] if { var(txn.cell) -m found }",
    "default_backend activator",
    // Nothing that follows a declined handshake is taken for a request.
    "http-after-response set-header connection close if { var(txn.switching) -m found } !{ status 101 }",
    // A client that holds its body back until it is asked for never has to send it after an error.
    "http-response set-header connection close if { var(txn.expecting) -m found } { res.hdr(x-atoll-error) -m found }",
    "http-after-response set-header server atoll",
    "http-after-response set-header cf-ray %[var(txn.ray)]",
  ]);
}

/**
 * Asks the client of a worker for a body that it holds back: HAProxy takes the header away with that. When
 * a cell asks, and its answer begins in the same piece, HAProxy 2.6 forwards no more of the body.
 */
const CONTINUE = [
  `http-request wait-for-body time ${LIMITS.requestBodyIdleMs}ms at-least 1 if { var(txn.expecting) -m found } { var(txn.route) -m found }`,
  "http-request unset-var(txn.expecting) if { var(txn.route) -m found }",
];

// Of what workers on Cloudflare are told of their callers each thing once: a header costs every request 3 µs or more.
const CALLER: ReadonlyArray<readonly [string, string]> = [
  ["cf-connecting-ip", "%[src]"],
  ["x-forwarded-proto", "http"],
  ["cf-ray", "%[var(txn.ray)]"],
];

/** What `request.cf` of a worker shows. */
function cfProperties(region: Region): ReadonlyArray<string> {
  const cf = (protocol: string): string =>
    [
      `{"colo":"${region.toUpperCase()}"`,
      `"httpProtocol":"${protocol}"`,
      `"tlsVersion":"","tlsCipher":"","requestPriority":""`,
      `"clientAcceptEncoding":"%[req.fhdr(accept-encoding),json(utf8ps)]"`,
      `"edgeRequestKeepAliveStatus":1}`,
    ].join(",");
  return [
    `${addHeader([HEADERS.cf, cf("HTTP/%[req.ver]")])} if !{ fc_http_major 2 }`,
    `${addHeader([HEADERS.cf, cf("HTTP/2")])} if { fc_http_major 2 }`,
  ];
}

// A host with more labels than this is looked up by the built-in ingress, if no shorter way leads to it.
const PARENTS_MAX = 6;

const OPEN = "!{ var(txn.route) -m found } { var(txn.host) -m found }";

/** Finds `txn.cell`, the server of the worker's warm cell, as `layOutRoutes` has laid it out. */
const ROUTING = [
  "http-request set-var(txn.host) req.fhdr(host),lower,field(1,:),rtrim(.) if !{ var(txn.odd) -m found }",
  `http-request set-var(txn.route) var(txn.host),map_str(${MAPS.hosts})`,
  ...Array.from(
    { length: PARENTS_MAX },
    (_, index) =>
      `http-request set-var(txn.route) var(txn.host),field(${index + 2},.,0),map_str(${MAPS.parents}) if ${OPEN}`,
  ),
  `http-request set-var(txn.route) str(*),map_str(${MAPS.parents}) if ${OPEN} !{ var(txn.host),field(${PARENTS_MAX + 2},.) -m len gt 0 }`,
  "http-request set-var(txn.url) pathq if { var(txn.route) -m beg ? }",
  "http-request set-var(txn.place) var(txn.route),concat(,txn.url) if { var(txn.url) -m found }",
  `http-request set-var(txn.route) var(txn.place),map_str(${MAPS.paths}) if { var(txn.url) -m found }`,
  `http-request set-var(txn.route) var(txn.place),map_beg(${MAPS.prefixes}) if { var(txn.route) -m beg ? }`,
  `http-request set-var(txn.cell) var(txn.route),map_str(${MAPS.cells})`,
];

/** Requests that found no cell at their server, or lost it. The activator is told which of them were lost. */
function lostSection({ user }: HaproxyConfigOptions): string {
  const owner = user === undefined ? "" : `uid ${user.userId} gid ${user.groupId} `;
  return section("frontend lost from all", [
    `bind unix@${PATHS.lost} ${owner}mode 600`,
    "http-request set-var(txn.lost) lua.lost_cell",
    `http-request set-header ${LOST_HEADER} %[var(txn.lost)] if { var(txn.lost) -m len gt 0 }`,
    "default_backend activator",
  ]);
}

function activatorSection(): string {
  return section("backend activator from all", TO_ACTIVATOR);
}

const TO_ACTIVATOR = [
  // When it closes connections is its own affair; it is not on the path of warm requests.
  "http-reuse never",
  // After a head that is not sound, nothing says where the next one begins.
  "http-response set-header connection close if { res.hdr(x-atoll-error) -m beg request_ }",
  `server activator unix@${PATHS.fallback} pool-max-conn 0`,
];

/** Workers whose accounts have used up their day. The built-in ingress refuses their requests, as it would alone. */
function quotaSection(): string {
  const rules = [...refuseMany(), ...CALLER.map(addHeader), ...TO_ACTIVATOR];
  return section(`backend ${QUOTA} from all`, rules);
}

/**
 * workerd's own answer for a worker that threw. Every text of a worker has a type, so only one that sends
 * these very bytes without a type, as bytes, gets the page of one that threw.
 */
const BARE_500 = "{ status 500 } { res.hdr(content-length) 21 } { res.hdr_names content-length }";
const THREW = [
  `${BARE_500} { res.body -m str "Internal Server Error" }`,
  `${BARE_500} { method HEAD }`,
];
/** Headers of answers that only an ingress may set, besides those that every answer gets. */
const OWN = ["x-atoll-cold", "x-atoll-error"];
const ORDINARY_ANSWER = `!{ status 500 } ${OWN.map((name) => `!{ res.hdr(${name}) -m found }`).join(" ")}`;
const ANSWER_SIZES = [
  // By HAProxy's own form, in which a line takes four bytes less; what has come of the body adds blocks.
  `acl short var(txn.head_out) -m int lt ${LIMITS.cellHeadBytesMax - LINES_BYTES}`,
  `acl few internal.htx.nbblks lt ${LIMITS.headerLinesMax}`,
  // With the empty line that ends them.
  `acl large res.hdrs,length gt ${LIMITS.cellHeadBytesMax + 2}`,
  `acl large res.fhdr_cnt gt ${LIMITS.headerLinesMax}`,
];

function cellSections(options: HaproxyConfigOptions): string {
  const { cellBackends, workerCellsMax } = options;
  const defaults = section("defaults cells from all", [
    "http-request set-var(txn.html) bool(true) if { req.hdr(accept) -m sub -i text/html }",
    ...CALLER.map(addHeader),
    ...cfProperties(options.region),
    // What was tried in vain goes to the activator, which knows what became of the cell.
    "retries 1",
    "option redispatch 1",
    "retry-on conn-failure empty-response",
    // These run whenever a connection stands. If one stood before, the request was lost with it, and the
    // connection now is the one that it comes back on.
    "tcp-response content lua.note_lost if { var(txn.sent) -m found }",
    "tcp-response content set-var(txn.sent) bool(true)",
    ...USAGE_RULES.response,
    ...ANSWER_SIZES,
    // Nearly all that cells answer is as it should be. What `lost` answers is the activator's.
    `http-response allow if ${ORDINARY_ANSWER} short few`,
    "http-response allow if { srv_id 1 }",
    `http-response allow if ${ORDINARY_ANSWER} !large`,
    `http-response wait-for-body time 1s if ${BARE_500} !{ method HEAD }`,
    ...THREW.flatMap((threw) => [
      `http-response deny ${pageArguments("workerThrewHtml", "worker_threw")} if ${threw} { var(txn.html) -m found }`,
      `http-response deny ${pageArguments("workerThrew", "worker_threw")} if ${threw}`,
    ]),
    `http-response deny ${pageArguments("answerTooLarge", "answer_head_too_large")} if large`,
    ...OWN.map((name) => `http-response del-header ${name}`),
  ]);
  const backends = Array.from({ length: cellBackends }, (_, index) =>
    section(`backend c${index} from cells`, useCell(options)),
  );
  const many = section(`backend ${MANY} from cells`, [
    "stick-table type integer size 10k expire 1m store conn_cur",
    "http-request set-var(txn.cells) var(txn.cell),field(2,.)",
    ...leastBusy(MANY, workerCellsMax),
    ...useCell(options),
  ]);
  const versions = section(`backend ${VERSIONS} from cells`, [
    ...chooseVersion(),
    ...leastBusy(VERSIONS, workerCellsMax),
    ...useCell(options),
  ]);
  const webSockets = section(`backend ${WEB_SOCKETS} from all`, [
    "stick-table type integer size 10k expire 1m store conn_cur",
  ]);
  return [defaults, ...backends, many, versions, webSockets].join("\n");
}

/**
 * To the server that `txn.cell` names, unless it is one WebSocket too many: a cell's are counted together,
 * whichever server they came over, with those that the built-in ingress has.
 */
function useCell({ webSocketsMax }: HaproxyConfigOptions): ReadonlyArray<string> {
  const switching = "{ var(txn.switching) -m found }";
  const cell = `var(txn.cell),${CELL_OF_NAME}`;
  return [
    `http-request track-sc1 ${cell} table ${WEB_SOCKETS} if ${switching}`,
    `http-request set-var(txn.sockets) sc1_conn_cur(${WEB_SOCKETS}) if ${switching}`,
    `http-request deny ${pageArguments("webSocketsFull", "websockets_full")} if ${switching} { ${cell},map_str_int(${MAPS.otherSockets},0),add(txn.sockets) gt ${webSocketsMax} }`,
    `use-server %[var(txn.cell)]-once if ${switching}`,
    "use-server %[var(txn.cell)] if { method GET HEAD OPTIONS }",
    "use-server %[var(txn.cell)]-once if TRUE",
    // All others weigh nothing, so whatever comes back goes here.
    `server lost unix@${PATHS.lost} id 1 pool-max-conn 0`,
  ];
}

/** From `<backend>.<cell>_<number>`. */
const CELL_OF_NAME = "field(2,.),field(1,_)";

/** Whether a backend is one of those that cells are spread over. */
export function isCellBackend(name: string): boolean {
  return name === MANY || name === VERSIONS || /^c\d+$/.test(name);
}
