import { connect as connectTcp, type LookupFunction, type Socket } from "node:net";
import { connect as connectTls, rootCertificates } from "node:tls";
import type { LookupAddress } from "node:dns";
import { Agent, type Dispatcher, Pool } from "undici";
import { Turnstile } from "../config/turnstile.ts";
import { EdgeError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { portOf, type Destination } from "./destination.ts";
import type { EgressPolicy, Goal } from "./egress-policy.ts";

export interface ConnectorOptions {
  readonly policy: EgressPolicy;
  /** Certificates (PEM) of authorities that are trusted beside the public ones. */
  readonly authorities?: ReadonlyArray<string>;
  /** How long a destination may take to begin its answer; of `LIMITS` by default. */
  readonly answerMs?: number;
}

/**
 * Makes connections to the world for one cell. Names are resolved by the very call that connects, and
 * judged in between, so no second look-up can answer differently from the one that was judged.
 */
export class Connector {
  readonly #policy: EgressPolicy;
  readonly #authorities: string[] | undefined;
  /** How long a destination may take to begin its answer. */
  readonly answerMs: number;
  /** For hosts whose addresses are judged, and for those that are allowed by name. */
  readonly #guarded: Agent;
  readonly #trusted: Agent;
  readonly #lookups = new Turnstile(LIMITS.egressLookupsMax);

  constructor(options: ConnectorOptions) {
    const { policy, authorities = [] } = options;
    this.#policy = policy;
    this.answerMs = options.answerMs ?? LIMITS.egressAnswerMs;
    this.#authorities = authorities.length > 0 ? [...rootCertificates, ...authorities] : undefined;
    this.#guarded = this.#createAgent((goal) => this.#resolvePublic(goal));
    this.#trusted = this.#createAgent(({ host }) => policy.resolve(host));
  }

  /** What sends requests to the destination. Throws `egress_denied`. */
  dispatcherFor(destination: Destination): Dispatcher {
    this.#policy.admit(destination);
    return this.#policy.isAllowedByName(destination) ? this.#trusted : this.#guarded;
  }

  /**
   * A connection of one's own, with TLS for `https`. Rejected with `egress_denied`,
   * `egress_unreachable` or `egress_timeout`.
   */
  connect(destination: Destination): Promise<Socket> {
    this.#policy.admit(destination);
    const { host, port } = destination;
    const lookup = lookupFor((name) =>
      this.#policy.isAllowedByName(destination)
        ? this.#policy.resolve(name)
        : this.#resolvePublic({ host: name, port }),
    );
    const isTls = destination.scheme === "https";
    // Who has said all may still have something to hear.
    const common = { host, port, lookup, allowHalfOpen: true };
    const socket = isTls
      ? connectTls({
          ...common,
          ...(destination.isAddress ? {} : { servername: host }),
          ...(this.#authorities === undefined ? {} : { ca: this.#authorities }),
        })
      : connectTcp(common);
    return established(socket, isTls ? "secureConnect" : "connect", host);
  }

  /** Closes every connection. */
  async close(): Promise<void> {
    await Promise.all([this.#guarded.destroy(), this.#trusted.destroy()]);
  }

  #resolvePublic(goal: Goal): Promise<ReadonlyArray<LookupAddress>> {
    return this.#lookups.run(() => this.#policy.resolvePublic(goal));
  }

  #createAgent(resolve: (goal: Goal) => Promise<ReadonlyArray<LookupAddress>>): Agent {
    return new Agent({
      // A look-up alone is not told the port.
      factory: (origin, options) => {
        const port = portOf(new URL(origin));
        const lookup = lookupFor((host) => resolve({ host, port }));
        const ca = this.#authorities === undefined ? {} : { ca: this.#authorities };
        const connect = { lookup, timeout: LIMITS.egressConnectMs, ...ca };
        // They are those below, as the agent passes them on.
        return new Pool(origin, { ...(options as Pool.Options), connect });
      },
      // One HTTP version towards all: what is passed on then never depends on what a server offers.
      allowH2: false,
      pipelining: 1,
      headersTimeout: this.answerMs,
      bodyTimeout: LIMITS.egressIdleMs,
      maxHeaderSize: LIMITS.egressHeadBytesMax,
      keepAliveTimeout: LIMITS.egressIdleConnectionMs,
      maxOrigins: LIMITS.egressOriginsMax,
    });
  }
}

/** A `lookup` for `net.connect` that answers with all addresses that `resolve` found fit. */
function lookupFor(
  resolve: (host: string) => Promise<ReadonlyArray<LookupAddress>>,
): LookupFunction {
  return (host, options, callback) => {
    resolve(host).then(
      (addresses) => {
        const [first] = addresses;
        if (options.all === true) callback(null, [...addresses]);
        else callback(null, first?.address ?? "", first?.family ?? 0);
      },
      (error: NodeJS.ErrnoException) => callback(error, []),
    );
  };
}

function established(
  socket: Socket,
  event: "connect" | "secureConnect",
  host: string,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      socket.destroy(
        new EdgeError(
          "egress_timeout",
          `no connection to '${host}' within ${LIMITS.egressConnectMs} ms`,
        ),
      );
    }, LIMITS.egressConnectMs);
    socket.once(event, () => {
      clearTimeout(timer);
      socket.off("error", fail);
      resolve(socket);
    });
    const fail = (error: Error): void => {
      clearTimeout(timer);
      reject(error);
    };
    socket.once("error", fail);
  });
}
