import fc from "fast-check";
import type { ControlPlaneProcess } from "../support/control-plane-process.ts";
import { linkScripts, speakScript, type LinkScript } from "./links.ts";
import { AnswerOracle } from "./oracle.ts";
import { operationsOf, type ApiDocument } from "./operations.ts";
import { requestsFor, type FuzzRequest } from "./requests.ts";
import { enrolNode, FuzzWorld } from "./world.ts";

export interface FuzzOptions {
  readonly plane: ControlPlaneProcess;
  /** Requests and link messages together. */
  readonly requests: number;
  readonly seed: number;
  readonly onProgress?: (line: string) => void;
}

export interface FuzzReport {
  readonly requests: number;
  readonly linkMessages: number;
  /** How many answers had which status. */
  readonly statuses: Readonly<Record<string, number>>;
  /** Operations that never answered with success. */
  readonly neverSucceeded: ReadonlyArray<string>;
  /** What lived on the heap after a fifth, and at the end. */
  readonly heapBytes: { readonly early: number; readonly end: number };
  readonly seconds: number;
  /** Answers that are not as the document says, and ends that should not be, as sentences. */
  readonly findings: ReadonlyArray<string>;
}

const BATCH = 500;
/** Of a batch, how many are scripts for links; each has some messages. */
const SCRIPTS_PER_BATCH = 15;
const BATCHES_ALONE = 10;
const CONCURRENCY = 8;
const FINDINGS_MAX = 100;

/** Sends requests that a seed decides to a control plane that is inspected. */
export async function runFuzz(options: FuzzOptions): Promise<FuzzReport> {
  const { plane, requests, seed, onProgress = () => undefined } = options;
  const startMs = performance.now();
  const document = (await (await fetch(`${plane.url}/openapi.json`)).json()) as ApiDocument;
  const operations = operationsOf(document);
  const calls = requestsFor(document, operations);
  const scripts = linkScripts(document);
  const world = await FuzzWorld.prepare(plane);
  const run = new FuzzRun(world, new AnswerOracle(document), {
    url: plane.url,
    credential: await enrolNode(plane, "liar"),
  });
  let early: number | undefined;
  let told = 0;
  try {
    for (let batch = 0; run.sent < requests && run.isWorthwhile; batch += 1) {
      await world.restock();
      const sample = { numRuns: Math.min(BATCH, requests - run.sent), seed: seed * 10_000 + batch };
      const links = fc.sample(scripts, {
        ...sample,
        numRuns: Math.ceil((sample.numRuns / BATCH) * SCRIPTS_PER_BATCH),
      });
      // Deploys wait for connected nodes, and this one never follows: mostly it comes alone.
      const speaking = run.speak(links);
      if (batch % BATCHES_ALONE !== 0) await speaking;
      await Promise.all([run.send(fc.sample(calls, sample)), speaking]);
      if (!plane.isRunning) throw new Error(`the control plane ended:\n${await plane.log()}`);
      if (run.sent >= requests / 5) early ??= await plane.heapBytes();
      for (const finding of run.findings.slice(told)) onProgress(`✘ ${finding}`);
      told = run.findings.length;
      onProgress(`${run.sent} sent, ${told} findings`);
    }
    return {
      ...run.counts(),
      neverSucceeded: operations
        .map(({ operationId }) => operationId)
        .filter((id) => !run.succeeded.has(id)),
      heapBytes: { early: early ?? 0, end: await plane.heapBytes() },
      seconds: Math.round((performance.now() - startMs) / 1_000),
      findings: run.findings,
    };
  } finally {
    world.close();
  }
}

class FuzzRun {
  readonly findings: string[] = [];
  readonly #world: FuzzWorld;
  readonly #oracle: AnswerOracle;
  readonly #link: { readonly url: string; readonly credential: string };
  readonly #statuses = new Map<number, number>();
  readonly succeeded = new Set<string>();
  #requests = 0;
  #messages = 0;

  constructor(
    world: FuzzWorld,
    oracle: AnswerOracle,
    link: { readonly url: string; readonly credential: string },
  ) {
    this.#world = world;
    this.#oracle = oracle;
    this.#link = link;
  }

  get sent(): number {
    return this.#requests + this.#messages;
  }

  /** Where so much is wrong, more of it tells nothing new. */
  get isWorthwhile(): boolean {
    return this.findings.length < FINDINGS_MAX;
  }

  async send(requests: ReadonlyArray<FuzzRequest>): Promise<void> {
    const waiting = requests.values();
    const sendAll = async (): Promise<void> => {
      for (const fuzzed of waiting) await this.#sendOne(fuzzed);
    };
    await Promise.all(Array.from({ length: CONCURRENCY }, sendAll));
  }

  /** One after the other: a node has one connection at a time. */
  async speak(scripts: ReadonlyArray<LinkScript>): Promise<void> {
    for (const script of scripts) {
      const fault = await speakScript(this.#link.url, this.#link.credential, script);
      this.#messages += script.length;
      if (fault !== undefined) this.findings.push(`${fault}: ${describeScript(script)}`);
    }
  }

  counts(): Pick<FuzzReport, "requests" | "linkMessages" | "statuses"> {
    return {
      requests: this.#requests,
      linkMessages: this.#messages,
      statuses: Object.fromEntries([...this.#statuses].sort(([left], [right]) => left - right)),
    };
  }

  async #sendOne(fuzzed: FuzzRequest): Promise<void> {
    this.#requests += 1;
    try {
      const answer = await this.#world.send(fuzzed);
      const { status } = answer;
      this.#statuses.set(status, (this.#statuses.get(status) ?? 0) + 1);
      if (status < 300 && fuzzed.operation !== undefined) {
        this.succeeded.add(fuzzed.operation.operationId);
      }
      const fault = this.#oracle.faultOf(fuzzed, answer);
      if (fault !== undefined) this.findings.push(`${fault}\n  ${describe(fuzzed)}`);
    } catch (error) {
      this.findings.push(`no answer: ${String(error)}\n  ${describe(fuzzed)}`);
    }
  }
}

function describe({ method, path, credential, headers, body }: FuzzRequest): string {
  const sent = body === undefined ? "" : Buffer.from(body.bytes.subarray(0, 600)).toString();
  const type = body?.contentType ?? "no type";
  return `${method} ${path.slice(0, 400)} as ${credential} ${JSON.stringify(headers)} ${type}: ${JSON.stringify(sent)}`;
}

function describeScript(script: LinkScript): string {
  return script.map((frame) => Buffer.from(frame.slice(0, 60)).toString("hex")).join(" ");
}
