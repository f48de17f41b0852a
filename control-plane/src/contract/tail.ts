import { z } from "zod";
import { WorkerKey } from "./worker-key.ts";

/** Tails that a node has at a time, more than any control plane asks for: bounds a message. */
export const TAILS_MAX = 1_000;
/** Filters of one tail; wrangler makes one of each kind at most. */
const FILTERS_MAX = 20;
/** Alternatives within a filter. */
const CHOICES_MAX = 50;

const Word = z.string().max(100);

/**
 * What a tail is asked to leave out, in the form in which wrangler sends it: an event is told when every one
 * of a tail's filters lets it pass. Strict, because a filter that is dropped silently tells too much.
 */
export const TailFilter = z.union([
  /** The part of the events that is told. */
  z.strictObject({ sampling_rate: z.number().gt(0).max(1) }),
  z.strictObject({ outcome: z.array(Word).max(CHOICES_MAX) }),
  z.strictObject({ method: z.array(Word).max(CHOICES_MAX) }),
  /** A request header that is there, or that holds a text. */
  z.strictObject({
    header: z.strictObject({
      key: z.string().min(1).max(256),
      query: z.string().max(1_024).optional(),
    }),
  }),
  /** Addresses of callers; the control plane puts the watcher's own in place of `self`. */
  z.strictObject({ client_ip: z.array(Word).max(CHOICES_MAX) }),
  /** A text within what the worker logged. */
  z.strictObject({ query: z.string().max(1_024) }),
  z.strictObject({ scriptVersion: Word }),
]);
export type TailFilter = z.infer<typeof TailFilter>;

export const TailFilters = z.array(TailFilter).max(FILTERS_MAX);
export type TailFilters = z.infer<typeof TailFilters>;

/** A watcher's wish, as a node knows it. */
export const Tail = z.object({ id: z.uuid(), worker: WorkerKey, filters: TailFilters });
export type Tail = z.infer<typeof Tail>;

/** What happened to a worker, as watchers are told: Cloudflare's own form, so its fields are theirs. */
export const TailEvent = z.object({
  scriptName: z.string(),
  scriptVersion: z.object({ id: z.string() }),
  entrypoint: z.string().nullish(),
  /** `ok`, `exception`, `canceled`, `exceededCpu`, `exceededMemory`, or what else workerd has to say. */
  outcome: z.string(),
  eventTimestamp: z.number().nullable(),
  /** What called it: a request, a schedule, another worker. */
  event: z.record(z.string(), z.unknown()).nullable(),
  logs: z.array(z.unknown()),
  exceptions: z.array(z.unknown()),
  diagnosticsChannelEvents: z.array(z.unknown()),
  cpuTime: z.number().optional(),
  wallTime: z.number().optional(),
  /** There was more than workerd keeps of one event. */
  truncated: z.boolean().optional(),
});
export type TailEvent = z.infer<typeof TailEvent>;

/** An event and the tails that it is for. */
export const ToldEvent = z.object({
  tails: z.array(z.uuid()).min(1).max(TAILS_MAX),
  /** JSON of a `TailEvent`: nobody on its way to the watcher looks into it. */
  json: z.string(),
});
export type ToldEvent = z.infer<typeof ToldEvent>;

/** A node's news for watchers. What does not travel in time does not travel, and is counted. */
export const TailNews = z.object({
  events: z.array(ToldEvent).max(1_000),
  /** Events of workers that were not told, since the last news. */
  dropped: z.array(z.object({ worker: WorkerKey, count: z.int().positive() })).max(TAILS_MAX),
});
export type TailNews = z.infer<typeof TailNews>;
