import { LIMITS } from "../../limits.ts";
import { quote } from "./config-text.ts";
import { MAPS } from "./haproxy-paths.ts";

// What comes near a limit is the built-in ingress's to judge.
export const NEAR_LINES = 50;
const PLAIN_LINES_MAX = LIMITS.headerLinesMax - NEAR_LINES;
const PLAIN_BYTES_MAX = LIMITS.requestHeadBytesMax / 2 - 1024;

// Not the ports from 60000 on: which of those there are is the built-in ingress's to judge.
const HOST = "[a-z0-9_-]([a-z0-9_-]|[.](?![.])){0,252}(:([0-9]{1,4}|[1-5][0-9]{4}))?";

/** Headers by which an ingress tells a worker who called, and those that end at a connection. */
export const STRIPPED =
  "cf-.*|x-atoll-.*|x-forwarded-.*|x-real-ip|keep-alive|te|trailer|proxy-(connection|authenticate|authorization)";

// All but a tab, and the line ends that HAProxy itself writes between headers.
const CONTROL = String.raw`[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)`;

/**
 * Any line of a head that one of the rules behind `ORDINARY` concerns: what they strip, refuse, note, or
 * call odd.
 */
const REMARKABLE_LINE = [
  `^(${STRIPPED}|expect|upgrade|content-length|transfer-encoding|sec-websocket-key):`,
  "^connection:(?! *(keep-alive|close)\\r)",
  `^host:(?! *${HOST}\\r)`,
  `^accept-encoding:.{${LIMITS.acceptEncodingBytesMax},}`,
  CONTROL,
].join("|");

/**
 * Most requests pass only these: no body, no line that any other rule concerns, a host that one worker has
 * for itself, and a warm cell. Each rule that all requests pass costs all of them.
 */
export const ORDINARY = [
  "acl odd_url pathq -m sub /. %2e %2E \\\\",
  `http-request set-var(txn.route) req.fhdr(host),lower,field(1,:),rtrim(.),map_str(${MAPS.hosts}) if ${[
    "{ method GET HEAD }",
    "{ req.ver 1.1 }",
    "{ url_beg / }",
    `{ internal.htx.data lt ${PLAIN_BYTES_MAX} }`,
    `{ internal.htx.nbblks lt ${PLAIN_LINES_MAX} }`,
    "!odd_url",
    `!{ req.hdrs -m reg -i ${quote(`(?m)${REMARKABLE_LINE}`)} }`,
  ].join(" ")}`,
  `http-request set-var(txn.cell) var(txn.route),map_str(${MAPS.cells}) if { var(txn.route) -m found }`,
  "http-request allow if { var(txn.cell) -m found }",
];

/**
 * What is out of the ordinary goes to the built-in ingress, which then judges and serves it exactly as it
 * would alone. The sizes leave room for what is added here.
 */
export const ODDITIES = [
  // As a whole: of a list, one host would do here and the last one be routed by.
  `acl plain_host req.fhdr(host) -m reg -i ^${HOST}$`,
  "acl plain_url url_beg /",
  // Whatever a client of HTTP/2 asks for, HAProxy shows as a whole URL.
  "acl plain_url fc_http_major 2",
  "acl plain_connection req.fhdr(connection) -m str -i close keep-alive upgrade",
  "acl switching req.hdr(upgrade) -m found",
  "acl websocket req.hdr(upgrade) -m str -i websocket",
  `acl large req.hdrs,length gt ${PLAIN_BYTES_MAX}`,
  `acl large url_len gt ${PLAIN_BYTES_MAX}`,
  `acl large req.fhdr_cnt gt ${PLAIN_LINES_MAX}`,
  `acl large req.fhdr(accept-encoding) -m len gt ${LIMITS.acceptEncodingBytesMax}`,
  "http-request deny status 400 default-errorfiles if !{ req.ver 1.0 1.1 2.0 }",
  // HAProxy lets control characters pass in values.
  `http-request deny status 400 default-errorfiles if { req.hdrs -m reg ${quote(CONTROL)} }`,
  // A handshake with a body is one no longer when HAProxy has read it.
  "http-request deny status 400 default-errorfiles if !switching { req.hdr(sec-websocket-key) -m found } { req.ver 1.0 1.1 }",
  "http-request set-var(txn.odd) bool(true) if !plain_host or !plain_url or odd_url",
  "http-request set-var(txn.odd) bool(true) if !{ path_beg / }", // such as `*`
  "http-request set-var(txn.odd) bool(true) if { req.hdr(connection) -m found } !plain_connection",
  "http-request set-var(txn.odd) bool(true) if switching !websocket",
  "http-request set-var(txn.odd) bool(true) if switching !{ method GET }",
  "http-request set-var(txn.odd) bool(true) if large",
  // A body without a length has to be counted, and one that is too long to be refused.
  `acl long_body req.hdr(content-length) -m int gt ${LIMITS.requestBodyBytesMax}`,
  "acl long_body req.hdr(transfer-encoding) -m found",
  // HTTP/2 says with the head whether there is a body at all.
  "acl bodiless internal.htx.has_eom",
  "acl measured req.hdr(content-length) -m found",
  "http-request set-var(txn.odd) bool(true) if long_body",
  "http-request set-var(txn.odd) bool(true) if { fc_http_major 2 } !bodiless !measured",
];
