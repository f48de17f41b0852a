import { LIMITS } from "../../limits.ts";
import { pageArguments } from "./static-pages.ts";

/**
 * Rules for requests that are to be refused: of those that come in numbers most get their page here, and are
 * counted alone. The others go on, to be refused by who tells of them in full.
 */
export function refuseMany(): ReadonlyArray<string> {
  const isMuch = `{ sc_http_req_rate(0) gt ${LIMITS.quotaRefusalsTold} }`;
  return [
    "stick-table type string len 128 size 10k expire 10s store http_req_rate(1s)",
    "http-request track-sc0 var(txn.route)",
    "http-request set-var(txn.html) bool(true) if { req.hdr(accept) -m sub -i text/html }",
    `http-request deny ${pageArguments("dayQuotaHtml", "day_quota_exceeded")} if ${isMuch} { var(txn.html) -m found }`,
    `http-request deny ${pageArguments("dayQuota", "day_quota_exceeded")} if ${isMuch}`,
    "http-request set-log-level silent",
  ];
}
