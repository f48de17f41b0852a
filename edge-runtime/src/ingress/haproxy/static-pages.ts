import { STATUS_CODES } from "node:http";
import { EDGE_ERRORS, type EdgeErrorCode } from "../../errors.ts";
import { responseHeadText } from "../../http/wire.ts";
import { errorPage } from "../error-pages.ts";

/** The answers that HAProxy gives by itself, as the files that it reads them from. */
export const PAGES = {
  /** Sent as they are, without a ray: the request was not read so far that it has one. */
  badRequest: "bad-request.http",
  requestTimeout: "request-timeout.http",
  /** Bodies in HAProxy's log format. */
  cellLost: "cell-lost.txt",
  answerTimeout: "answer-timeout.txt",
  answerTooLarge: "answer-too-large.txt",
  webSocketsFull: "websockets-full.txt",
  dayQuota: "day-quota.txt",
  dayQuotaHtml: "day-quota.html",
  workerThrew: "worker-threw.txt",
  workerThrewHtml: "worker-threw.html",
} as const;

export type PageName = keyof typeof PAGES;

/** The text of each file. */
export function pageTexts(): Readonly<Record<PageName, string>> {
  return {
    badRequest: wholeAnswer("request_invalid"),
    requestTimeout: wholeAnswer("request_timeout"),
    cellLost: bodyFormat("cell_lost", "text/plain"),
    answerTimeout: bodyFormat("answer_timeout", "text/plain"),
    answerTooLarge: bodyFormat("answer_head_too_large", "text/plain"),
    webSocketsFull: bodyFormat("websockets_full", "text/plain"),
    dayQuota: bodyFormat("day_quota_exceeded", "text/plain"),
    dayQuotaHtml: bodyFormat("day_quota_exceeded", "text/html"),
    workerThrew: bodyFormat("worker_threw", "text/plain"),
    workerThrewHtml: bodyFormat("worker_threw", "text/html"),
  };
}

/** The arguments of a rule that answers with a page, from its status on. */
export function pageArguments(name: PageName, code: EdgeErrorCode): string {
  const retryAfter = code === "day_quota_exceeded" ? SECONDS_LEFT_OF_DAY : undefined;
  const { status, headers } = errorPage(code, { ray: "", accept: acceptOf(name), retryAfter });
  const [contentType, ...others] = headers.map(([header, value]) =>
    header === "content-type" ? `content-type "${value}"` : `hdr ${header} "${value}"`,
  );
  return `status ${status} ${contentType} lf-file ${PAGES[name]} ${others.join(" ")}`;
}

/** In HAProxy's log format. */
const SECONDS_LEFT_OF_DAY = "%[date,mod(86400),neg,add(86400)]";

function acceptOf(name: PageName): string {
  return PAGES[name].endsWith(".html") ? "text/html" : "text/plain";
}

function wholeAnswer(code: EdgeErrorCode): string {
  const { headers, body } = errorPage(code, { ray: "none" });
  const { status } = EDGE_ERRORS[code];
  const head = responseHeadText(status, STATUS_CODES[status] ?? "", [
    ...headers.flat(),
    ...["server", "atoll"],
    ...["content-length", String(Buffer.byteLength(body))],
    ...["connection", "close"],
  ]);
  return head + body;
}

// Never part of a page's own text.
const RAY = "\u0001";

function bodyFormat(code: EdgeErrorCode, accept: string): string {
  const { body } = errorPage(code, { ray: RAY, accept });
  return body.replaceAll("%", "%%").replaceAll(RAY, "%[var(txn.ray)]");
}
