import { ScheduleStatus } from "@atoll/control-plane";
import Table from "cli-table3";
import { z } from "zod";
import { UsageError } from "../settings.ts";
import type { WranglerEnvironment } from "../wrangler-environment.ts";

// For people in a hurry, like the status.
const ANSWER_MS = 5_000;

const SchedulesAnswer = z.object({ result: z.object({ schedules: z.array(ScheduleStatus) }) });

/** Asks the control plane, for one worker or all of them. Throws a `UsageError` when it can't be had. */
export async function fetchSchedules(
  variables: WranglerEnvironment,
  worker: string | undefined,
): Promise<ReadonlyArray<ScheduleStatus>> {
  const { CLOUDFLARE_API_BASE_URL: base, CLOUDFLARE_ACCOUNT_ID: account } = variables;
  const url = new URL(`${base}/accounts/${account}/schedules`);
  if (worker !== undefined) url.searchParams.set("worker", worker);
  const response = await fetch(url, {
    headers: { authorization: `Bearer ${variables.CLOUDFLARE_API_TOKEN}` },
    signal: AbortSignal.timeout(ANSWER_MS),
  }).catch((cause: unknown) => {
    const message = `The control plane at ${url.origin} does not answer: is Atoll running?`;
    throw new UsageError(message, { cause });
  });
  if (response.ok) return SchedulesAnswer.parse(await response.json()).result.schedules;
  const answer = (await response.text()).slice(0, 300);
  throw new UsageError(`The control plane at ${url.origin} refused: ${response.status} ${answer}`);
}

/** A row for each of the latest occurrences, and one for each schedule that came to none yet. */
export function formatSchedules(schedules: ReadonlyArray<ScheduleStatus>): string {
  if (schedules.length === 0) return "No worker has a schedule: 'triggers.crons' sets them.";
  const table = new Table({
    head: ["worker", "cron", "next", "was due", "outcome", "attempts", "node", "took"],
    style: { head: [], border: [] },
  });
  for (const { worker, cron, nextAt, occurrences } of schedules) {
    const heading = [worker, cron, minuteOf(nextAt)];
    if (occurrences.length === 0) table.push([...heading, "", "", "", "", ""]);
    for (const [index, occurrence] of occurrences.entries()) {
      table.push([
        ...(index === 0 ? heading : ["", "", ""]),
        minuteOf(occurrence.scheduledAt),
        describeState(occurrence),
        occurrence.attempts,
        occurrence.node ?? "",
        occurrence.wallMs === null ? "" : `${occurrence.wallMs} ms`,
      ]);
    }
  }
  return table.toString();
}

function describeState({ state, outcome }: ScheduleStatus["occurrences"][number]): string {
  switch (state) {
    case "ended":
      return outcome ?? "";
    case "missed":
      return "missed";
    case "claimed":
      return outcome === null ? "running" : `running again after ${outcome}`;
    case "pending":
      return outcome === null ? "waiting" : `to be tried again after ${outcome}`;
  }
}

/** Such as `2026-11-20 12:00`, in UTC as schedules are. */
function minuteOf(at: string): string {
  return at.slice(0, 16).replace("T", " ");
}
