import { ScheduleStatus } from "@atoll/control-plane";
import Table from "cli-table3";
import { z } from "zod";
import { inHurry, type AccountApi } from "../account-api.ts";

const SchedulesAnswer = z.object({ schedules: z.array(ScheduleStatus) });

/** Asks for one worker or all of them. Throws a `UsageError` when it can't be had. */
export async function fetchSchedules(
  api: AccountApi,
  worker: string | undefined,
): Promise<ReadonlyArray<ScheduleStatus>> {
  const query = worker === undefined ? "" : `?${new URLSearchParams({ worker }).toString()}`;
  return (await api.call(`/schedules${query}`, SchedulesAnswer, inHurry())).schedules;
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
