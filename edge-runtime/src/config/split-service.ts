import { POSITION_STEP, POSITIONS } from "../ingress/split.ts";
import { list, quote, struct, type Expression } from "./capnp-text.ts";

// Each call of a binding, be it a request or a method, makes an instance. What it is asked for is asked of the
// version that has the next position of the sequence, as a request from outside would.
const SCRIPT = `import { WorkerEntrypoint } from "cloudflare:workers";
let turn = 0;
export default class extends WorkerEntrypoint {
  constructor(context, env) {
    super(context, env);
    turn = (turn + 1) % ${POSITIONS};
    const version = (turn * ${POSITION_STEP}) % ${POSITIONS} < env.share ? env.other : env.main;
    return new Proxy(this, {
      get: (_, name) => (name === "fetch" ? (request) => version.fetch(request) : version[name]),
    });
  }
}`;

/** The service behind a binding to a worker that two versions serve: it gives each its share of the calls. */
export function splitService(options: {
  readonly name: string;
  /** Where the binding would lead if either version were the only one. */
  readonly main: Expression;
  readonly other: Expression;
  /** Positions that are the other one's. */
  readonly share: number;
}): Expression {
  const { name, main, other, share } = options;
  return struct({
    name: quote(name),
    worker: struct({
      modules: list([struct({ name: quote("split.js"), esModule: quote(SCRIPT) })]),
      compatibilityDate: quote("2026-04-01"),
      bindings: list([
        struct({ name: quote("main"), service: main }),
        struct({ name: quote("other"), service: other }),
        struct({ name: quote("share"), json: quote(String(share)) }),
      ]),
    }),
  });
}
