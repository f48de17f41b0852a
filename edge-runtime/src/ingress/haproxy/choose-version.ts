import {
  cookieOf,
  KEPT_POSITION,
  KEY_COOKIE,
  KEY_HEADER,
  OVERRIDES_HEADER,
  POSITION_STEP,
  POSITIONS,
} from "../split.ts";
import { quote } from "./config-text.ts";
import { NO_CELL } from "./haproxy-paths.ts";

/**
 * Makes `txn.cells` those of the version that `SplitChooser` would choose, of the two that `txn.cell` lists.
 * It stands in a backend of its own, so that workers of one version pay nothing for it. Who asks for a
 * version by its id is served by the built-in ingress, which reads such lists.
 */
export function chooseVersion(): ReadonlyArray<string> {
  const isNew = "!{ var(txn.position) -m found }";
  return [
    // Counts each worker's requests without a position, which gives them theirs.
    "stick-table type string len 128 size 10k expire 1h store gpc0",
    `http-request set-var(txn.position) req.fhdr(${KEY_HEADER}),crc32,mod(${POSITIONS}) if { req.fhdr(${KEY_HEADER}) -m len gt 0 }`,
    `http-request set-var(txn.kept) req.cook(${KEY_COOKIE}) if ${isNew}`,
    `http-request set-var(txn.position) var(txn.kept),field(2,~),add(0) if ${isNew} { var(txn.kept) -m reg ${quote(KEPT_POSITION)} }`,
    `http-request set-var(txn.position) var(txn.kept),crc32,mod(${POSITIONS}) if ${isNew} { var(txn.kept) -m len gt 0 }`,
    `http-request track-sc2 var(txn.route) if ${isNew}`,
    `http-request set-var(txn.given) sc2_inc_gpc0,mul(${POSITION_STEP}),mod(${POSITIONS}) if ${isNew}`,
    `http-request set-var(txn.position) var(txn.given) if ${isNew}`,
    "http-request set-var(txn.threshold) var(txn.cell),field(2,.),field(1,:),add(0)",
    "http-request set-var(txn.cells) var(txn.cell),field(3,:)",
    "http-request set-var(txn.cells) var(txn.cell),field(2,:) if { var(txn.position),sub(txn.threshold) lt 0 }",
    `http-request set-var(txn.cells) str(${NO_CELL}) if { req.fhdr(${OVERRIDES_HEADER}) -m found }`,
    // What comes from the built-in ingress has a position from there.
    `http-after-response add-header set-cookie ${quote(cookieOf("%[var(txn.given)]"))} if { var(txn.given) -m found } !{ srv_id 1 }`,
  ];
}
