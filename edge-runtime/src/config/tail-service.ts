import { list, quote, struct, type Expression } from "./capnp-text.ts";
import { HEADERS, TAIL_SOCKET } from "./cell-interface.ts";

// workerd hands each event to a worker in the same process, and to nothing else: this passes them on to the
// node, many with one call. It keeps a bounded number while a call is under way, counts what comes besides, and
// starts anew when nothing was heard of a call for long: its context may have ended without a word. The node's
// filters look at what workerd hides of a request, too.
const SCRIPT = `const EVENTS_MAX = 500, CHARACTERS_MAX = 1_000_000, PAUSE_MS = 10, SILENCE_MS = 5_000;
let told = [], characters = 0, dropped = 0, tellingAt = -Infinity;

export default {
  async tail(items, { node }) {
    for (const item of items) keep(item);
    if (Date.now() - tellingAt < SILENCE_MS) return;
    try {
      while (told.length > 0 || dropped > 0) {
        tellingAt = Date.now();
        const body = '{"dropped":' + dropped + ',"events":[' + told.join() + ']}';
        told = [], characters = 0, dropped = 0;
        const response = await node.fetch("http://node/", { method: "POST", body });
        await response.arrayBuffer();
        await scheduler.wait(PAUSE_MS);
      }
    } finally {
      tellingAt = -Infinity;
    }
  },
};

function keep(item) {
  const json = told.length < EVENTS_MAX && characters < CHARACTERS_MAX ? jsonOf(describe(item)) : "";
  if (json === "" || characters + json.length > 2 * CHARACTERS_MAX) return void (dropped += 1);
  told.push(json);
  characters += json.length;
}

// What a worker published to a channel may be what JSON lacks: a BigInt, or a cycle.
function jsonOf(told) {
  try {
    return JSON.stringify(told);
  } catch {
    const plain = ({ channel, timestamp, message }) => ({ channel, timestamp, message: plainOf(message) });
    return JSON.stringify({ ...told, diagnosticsChannelEvents: told.diagnosticsChannelEvents.map(plain) });
  }
}

function plainOf(message) {
  try {
    return JSON.parse(JSON.stringify(message, (_, value) => typeof value === "bigint" ? String(value) : value));
  } catch {
    return "[circular]";
  }
}

function describe({ event, ...item }) {
  const { entrypoint, outcome, eventTimestamp, logs, exceptions, diagnosticsChannelEvents } = item;
  const { cpuTime, wallTime, truncated } = item;
  return {
    entrypoint, outcome, eventTimestamp, logs, exceptions, diagnosticsChannelEvents,
    cpuTime, wallTime, truncated, ...(event?.request ? describeRequest(event) : { event: describeOther(event) }),
  };
}

function describeRequest({ request, response }) {
  const { url, method, headers, cf } = request;
  const event = { request: { url, method, headers, cf }, response: response ? { status: response.status } : undefined };
  if (!Object.values(headers).includes("REDACTED")) return { event };
  const hidden = Object.entries(request.getUnredacted().headers).filter(([name, value]) => headers[name] !== value);
  return { event, hidden: Object.fromEntries(hidden) };
}

const FIELDS = ["cron", "scheduledTime", "rpcMethod", "queue", "batchSize", "mailFrom", "rcptTo", "rawSize"];

function describeOther(event) {
  if (event === null || event === undefined) return null;
  const known = FIELDS.filter((name) => event[name] !== undefined).map((name) => [name, event[name]]);
  const consumedEvents = event.consumedEvents?.map(({ scriptName }) => ({ scriptName }));
  return { ...Object.fromEntries(known), consumedEvents };
}`;

/**
 * The services that pass a worker's events on to the node: one that the worker's code names as its tail,
 * under `name`, and the node itself, which knows by the capability whose events they are.
 */
export function tailServices(options: {
  readonly name: string;
  readonly capability: string;
}): ReadonlyArray<Expression> {
  const { name, capability } = options;
  const node = `${name}-node`;
  const header = struct({ name: quote(HEADERS.tail), value: quote(capability) });
  return [
    struct({
      name: quote(name),
      worker: struct({
        modules: list([struct({ name: quote("tail.js"), esModule: quote(SCRIPT) })]),
        compatibilityDate: quote("2026-04-01"),
        bindings: list([struct({ name: quote("node"), service: quote(node) })]),
      }),
    }),
    struct({
      name: quote(node),
      external: struct({
        address: quote(`unix:${TAIL_SOCKET}`),
        http: struct({ injectRequestHeaders: list([header]) }),
      }),
    }),
  ];
}
