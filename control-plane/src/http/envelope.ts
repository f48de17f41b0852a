import type { ControlPlaneError } from "../errors.ts";

/** The body of every answer under `/client/v4`: wrangler reads `success`, `result` and `errors`. */
export interface Envelope<Result> {
  readonly success: boolean;
  readonly errors: ReadonlyArray<{ readonly code: number; readonly message: string }>;
  readonly messages: ReadonlyArray<string>;
  readonly result: Result;
  readonly result_info?: ResultInfo;
}

/** How a listing goes on; wrangler follows `cursor` until it is empty. */
export interface ResultInfo {
  readonly page?: number;
  readonly per_page?: number;
  readonly count?: number;
  readonly total_count?: number;
  readonly cursor?: string;
}

export function success<Result>(result: Result, info?: ResultInfo): Envelope<Result> {
  const envelope = { success: true, errors: [], messages: [], result };
  return info === undefined ? envelope : { ...envelope, result_info: info };
}

/** `requestId` finds the log line that belongs to the failure. */
export function failure(error: ControlPlaneError, requestId: string): Envelope<null> {
  return {
    success: false,
    errors: [{ code: error.cloudflareCode, message: error.message }],
    messages: [`error: ${error.code}, request: ${requestId}`],
    result: null,
  };
}
