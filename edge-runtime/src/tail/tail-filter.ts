import type { TailEvent, TailFilter } from "@atoll/control-plane/contract";
import { z } from "zod";

/** What filters look at. */
export interface FilteredEvent {
  readonly event: Pick<TailEvent, "outcome" | "event" | "logs" | "scriptVersion">;
  /** Headers as they came, of those that the event shows as hidden. */
  readonly hidden: Readonly<Record<string, string>>;
}

const Request = z.object({ method: z.string(), headers: z.record(z.string(), z.string()) });
const Log = z.object({ message: z.unknown() });

/** Whether every one of a tail's filters lets an event pass. `random` is from 0 to 1. */
export function passes(
  filters: ReadonlyArray<TailFilter>,
  subject: FilteredEvent,
  random: () => number,
): boolean {
  // Chance comes last: what another filter leaves out is no part of what is sampled.
  return (
    filters.every((filter) => "sampling_rate" in filter || lets(filter, subject)) &&
    filters.every((filter) => !("sampling_rate" in filter) || random() < filter.sampling_rate)
  );
}

function lets(
  filter: Exclude<TailFilter, { sampling_rate: number }>,
  { event, hidden }: FilteredEvent,
): boolean {
  if ("outcome" in filter) return filter.outcome.includes(event.outcome);
  if ("scriptVersion" in filter) return event.scriptVersion.id === filter.scriptVersion;
  if ("query" in filter) return event.logs.some((log) => textOf(log).includes(filter.query));
  // The others are about requests, so that nothing else passes.
  const request = Request.safeParse(event.event?.["request"]).data;
  if (request === undefined) return false;
  if ("method" in filter) {
    return filter.method.some((method) => method.toUpperCase() === request.method.toUpperCase());
  }
  const headers = new Map(
    Object.entries({ ...request.headers, ...hidden }).map(
      ([name, value]) => [name.toLowerCase(), value] as const,
    ),
  );
  if ("client_ip" in filter)
    return filter.client_ip.includes(headers.get("cf-connecting-ip") ?? "");
  const value = headers.get(filter.header.key.toLowerCase());
  return value !== undefined && value.includes(filter.header.query ?? "");
}

/** What somebody reads who looks for a text in a line of the log. */
function textOf(log: unknown): string {
  const message = Log.safeParse(log).data?.message;
  const parts: ReadonlyArray<unknown> = Array.isArray(message) ? message : [message];
  return parts.map((part) => (typeof part === "string" ? part : JSON.stringify(part))).join(" ");
}
